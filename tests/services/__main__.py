"""Start and end real servers by hand: `scripts/services COMMAND [NAME...]`.

What is printed to stdout is for the shell: `eval "$(scripts/services up)"`.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.services import ServiceUnavailable
from tests.services.catalog import SERVERS, Addresses
from tests.services.keeping import ROOT, Kept
from tests.services.process import default_cache_dir


def up(servers: Sequence[Kept]) -> None:
    """Start those that do not run, side by side, and print where each is."""
    keepers = [server.start() for server in servers]
    for server, keeper in zip(servers, keepers, strict=True):
        _export(server.name, server.wait_until_ready(keeper))


def down(servers: Sequence[Kept]) -> None:
    """End those that run."""
    for server in servers:
        print(f"# {server.name}: {'ended' if server.stop() else 'was not running'}")


def status(servers: Sequence[Kept]) -> None:
    """Print where each is."""
    for server in servers:
        if addresses := server.addresses():
            _export(server.name, addresses)
        else:
            print(f"# {server.name}: {'starting' if server.keeper() else 'not running'}")


def run(servers: Sequence[Kept]) -> None:
    """Start others beside those of `up`, and keep them until Ctrl-C or SIGTERM."""
    with ExitStack() as stack:
        for server in servers:
            start = SERVERS[server.name]
            _export(server.name, stack.enter_context(start(default_cache_dir())))
        signal.pause()


def keep(servers: Sequence[Kept]) -> None:
    """Keep one for `up`."""
    servers[0].keep()


COMMANDS: dict[str, Callable[[Sequence[Kept]], None]] = {
    "up": up,
    "down": down,
    "status": status,
    "run": run,
    "keep": keep,
}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="scripts/services", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "services")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SERVERS):
        parser.error(f"no {', '.join(sorted(unknown))}; there are: {', '.join(SERVERS)}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    folder = arguments.folder.absolute()
    servers = [Kept(name, folder / name) for name in arguments.names or SERVERS]
    try:
        COMMANDS[arguments.command](servers)
    except KeyboardInterrupt:
        pass
    except ServiceUnavailable as reason:
        sys.exit(str(reason))


def _export(name: str, addresses: Addresses) -> None:
    print(f"# {name}")
    for variable, address in addresses.items():
        print(f"export {variable}={shlex.quote(address)}", flush=True)


if __name__ == "__main__":
    main()
