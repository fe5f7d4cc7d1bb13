"""The demo: real participants, the platform, and orders of which some go wrong in known ways.

make demo            stays up until Ctrl-C
make demo ONCE=1     ends once everything came out right (exit 0) or did not (exit 1)
"""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.processes import CommandProcess
from examples.dist_task import CommandFailed, Platform, free_port
from examples.orders import Order, Story, all_orders, of_story, submission
from examples.reckoning import Difference, differences, stock_differences
from examples.shop import BROKER, REQUEST_TOPIC, ROOT, Shop
from examples.view import Snapshot, View, differences_table, events, in_words, view

PORT = 3000
BY_MESSAGE = 10  # orders that come by message
TIMEOUT = 300  # seconds that --once may take
LOOK_INTERVAL = 1.0  # seconds between two looks
START_INTERVAL = 0.2  # seconds between two looks at processes that start
EXIT_WRONG, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
LOCK = ".lock"


class Stopped(Exception):
    """Ctrl-C or SIGTERM."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class TimeIsUp(DemoFailed):
    """`--once` took longer than it may."""


class Pause:
    """Waits, unless the demo is told to stop or its time is up."""

    def __init__(self, stop: threading.Event, limit: float) -> None:
        self._stop = stop
        self._limit = limit
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._began

    def __call__(self, seconds: float) -> None:
        """Wait.

        Raises:
            Stopped: told to stop.
            TimeIsUp: the demo has taken too long.
        """
        if self._stop.wait(seconds):
            raise Stopped
        if self.elapsed > self._limit:
            raise TimeIsUp(f"not done after {self._limit:g} s; --timeout allows for more")


@dataclass(frozen=True, slots=True)
class Act:
    """Something that the demo does once, as soon as its moment has come."""

    moment: Callable[[Snapshot], bool]
    do: Callable[[], str]  # says what was done


class Demo:
    """One run of the demo.

    Args:
        background: runs the commands that must not keep the picture waiting.
    """

    def __init__(
        self, orders: Sequence[Order], shop: Shop, platform: Platform, background: Executor
    ) -> None:
        self.snapshot = Snapshot()
        self.is_over = False  # nothing moves any more by itself
        self._orders = orders
        self._shop = shop
        self._platform = platform
        self._background = background
        self._commands: list[Future[None]] = []
        self._acts = [
            Act(self._carrier_is_missed, self._bring_carrier_back),
            Act(self._frozen_have_failed, self._repair_frozen),
        ]

    def submit(self) -> None:
        """Submit every order: some by command, some by message, and one of these twice."""
        names = ("north", "south")
        carriers = {name: f"http://{self._shop.address(name)}" for name in names}
        requests = [submission(order, carriers) for order in self._orders]
        self._platform.submit(requests[BY_MESSAGE:])
        by_message = [*requests[:BY_MESSAGE], requests[0]]
        self._platform.send(by_message, self._shop.address(BROKER), REQUEST_TOPIC)

    def look(self, ledger: Ledger, picture: View) -> None:
        """Look at everything once, show it, and do what is due.

        Raises:
            CommandFailed: a command given at an earlier look did not succeed.
        """
        before, was_busy = self.snapshot, self._is_busy()
        self.snapshot = Snapshot(
            ledger.transactions.find([order.id for order in self._orders]),
            ledger.exceptions.page(limit=1000),
            self._shop.books(),
        )
        for event in events(before.exceptions, self.snapshot.exceptions):
            picture.tell(event)
        picture.show(self.snapshot)
        due = [act for act in self._acts if act.moment(self.snapshot)]
        for act in due:
            picture.tell(act.do())
            self._acts.remove(act)
        records = [self.snapshot.transactions.get(order.id) for order in self._orders]
        is_settled = all(record and record.status.is_settled for record in records)
        self.is_over = not was_busy and not due and is_settled

    def differences(self) -> list[Difference]:
        """What is not as it must be."""
        taken = self._shop.articles_taken()
        found = differences(self._orders, self.snapshot.statuses, self.snapshot.books)
        return found + stock_differences(self._orders, taken)

    def _is_busy(self) -> bool:
        """Whether a command is under way."""
        for command in [command for command in self._commands if command.done()]:
            command.result()
            self._commands.remove(command)
        return bool(self._commands)

    def _carrier_is_missed(self, snapshot: Snapshot) -> bool:
        orders = of_story(self._orders, Story.CARRIER_DOWN)
        return all(snapshot.has_failed_at(order, "shipping") for order in orders)

    def _bring_carrier_back(self) -> str:
        self._shop.start("south")
        return "the carrier south comes back; its orders are retried by themselves"

    def _frozen_have_failed(self, snapshot: Snapshot) -> bool:
        orders = of_story(self._orders, Story.FROZEN)
        return all(snapshot.state(order) == "failed" for order in orders)

    def _repair_frozen(self) -> str:
        orders = list(of_story(self._orders, Story.FROZEN))
        for order in orders:
            self._shop.unfreeze(order.user)
            reason = f"the bank freed the account of {order.user}"
            command = ("retry", order.id, "--reason", reason)
            self._commands.append(self._background.submit(self._platform.command, *command))
        names = " ".join(order.id for order in orders)
        return f"the account is freed, a person says: dist-task retry {names}"


def play(console: Console, work: Path, port: int, pause: Pause, *, once: bool) -> bool:
    """Start everything, submit the orders and watch; then end everything.

    Returns:
        whether everything came out right (`once`; otherwise it goes on until told to stop).

    Raises:
        Stopped: told to stop.
        DemoFailed: it cannot go on.
        CommandFailed: so did a command of the platform.
    """
    orders = all_orders()
    frozen = [order.user for order in of_story(orders, Story.FROZEN)]
    with ExitStack() as stack:
        shop = stack.enter_context(Shop(work, frozen))
        platform = Platform(work, port, _addresses(shop))
        _say(console, "Starting the participants and the platform, some 20 seconds ...")
        participants = shop.start("payment", "fraud check", "north", BROKER)
        up = stack.enter_context(platform.up())
        background = stack.enter_context(ThreadPoolExecutor(1))
        demo = Demo(orders, shop, platform, background)
        await_ready([*participants, up], pause)
        platform.command("flow", "apply", str(platform.flow_file))
        demo.submit()
        _say(console, where_to_look(platform))
        ledger = stack.enter_context(platform.ledger())
        try:
            with view(console, orders, f"{len(orders)} orders at {platform.url}") as picture:
                watch(demo, ledger, picture, up, pause, once=once)
        except TimeIsUp as late:
            _say(console, str(late))
        found = demo.differences()
        report(console, demo, found, pause.elapsed)
    return not found


def await_ready(processes: Sequence[CommandProcess], pause: Pause) -> None:
    """Wait until each process has said that it is ready.

    Raises:
        DemoFailed: one ended instead.
    """
    for process in processes:
        while not any(line.startswith("ready ") for line in process.log_tail().splitlines()):
            _check(process)
            pause(START_INTERVAL)


def watch(
    demo: Demo, ledger: Ledger, picture: View, up: CommandProcess, pause: Pause, *, once: bool
) -> None:
    """Look again and again; with `once` until nothing moves any more by itself."""
    told = False
    while True:
        _check(up)
        demo.look(ledger, picture)
        if demo.is_over and not told:
            told = True
            picture.tell(_verdict(demo.differences()))
            if once:
                return
        pause(LOOK_INTERVAL)


def report(console: Console, demo: Demo, found: Sequence[Difference], seconds: float) -> None:
    """Print the books' totals and whether everything came out right."""
    _say(console, f"In the books: {in_words(demo.snapshot.books)}.")
    if found:
        console.print(differences_table(found))
    _say(console, f"{_verdict(found)} It took {seconds:.0f} s.")


def where_to_look(platform: Platform) -> str:
    """What to open, and where to click first."""
    return (
        f"The Dagster UI: {platform.url} - click Runs, there a red run, in it a red step: its "
        "event lists the orders that failed, each with its error.\n"
        f"In another terminal: dist-task exceptions {' '.join(platform.options)}"
    )


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """The folder, emptied and kept from other demos during the block.

    Raises:
        DemoFailed: another demo runs there, or it holds what no demo made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_foreign = not (folder / LOCK).exists() and any(folder.iterdir())
    if is_foreign:
        raise DemoFailed(f"{folder} is no demo's folder and not empty; --work names another")
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoFailed(f"another demo runs in {folder}; --work names another") from None
        for path in folder.iterdir():
            _remove(path)
        yield folder


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, even where the starter had them ignored."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> int:
    """Run the demo; gives the exit code."""
    arguments = _arguments()
    _forget_settings()
    console = Console()
    with stop_signals() as stop:
        pause = Pause(stop, arguments.timeout if arguments.once else float("inf"))
        try:
            port = _port(console, arguments.port)
            with work_folder(arguments.work.absolute()) as work:
                is_right = play(console, work, port, pause, once=arguments.once)
        except Stopped:
            _say(console, "Ended, with every process.")
            return EXIT_INTERRUPTED if arguments.once else 0
        except (DemoFailed, CommandFailed) as error:
            _say(console, f"{error}\nThe logs are in {arguments.work}.")
            return EXIT_WRONG
    return 0 if is_right else EXIT_WRONG


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="The demo.")
    parser.add_argument("--once", action="store_true", help="end when everything came out")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds, with --once")
    parser.add_argument("--port", type=int, default=PORT, help="of the UI, or the next free one")
    parser.add_argument("--work", type=Path, default=ROOT / ".demo", help="a folder, emptied")
    return parser.parse_args()


def _forget_settings() -> None:
    """The demo has its own configuration; the user's must not lead it to other databases."""
    for name in [name for name in os.environ if name.startswith(("DIST_TASK", "DAGSTER_"))]:
        del os.environ[name]


def _port(console: Console, wanted: int) -> int:
    port = free_port(wanted)
    if port != wanted:
        _say(console, f"Port {wanted} is taken; the Dagster UI will be on {port}.")
    return port


def _addresses(shop: Shop) -> dict[str, str]:
    """What the names in the demo's configuration and flow stand for on this machine."""
    return {
        "payment-service:7001": shop.address("payment"),
        "fraud-check:7002": shop.address("fraud check"),
        "rocketmq:8081": shop.address(BROKER),
        "/var/lib/warehouse.db": str(shop.stock_file),
    }


def _verdict(found: Sequence[Difference]) -> str:
    if found:
        return f"WRONG: {len(found)} things are not as they must be."
    return "Every order came to its expected state, every effect took place exactly once."


def _check(process: CommandProcess) -> None:
    if process.has_ended:
        raise DemoFailed(f"{process.name} ended:\n{process.log_tail()}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.name != LOCK:
        path.unlink()


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
