"""One command over REST: its client, and how it prints what it found."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.address import server_url
from dist_task_pipelines.cli.printing import out, print_json, print_line

if TYPE_CHECKING:
    from dist_task_pipelines.client import Client

# What every command over REST has beside its own options; the name is the parameter's.
_SHARED: dict[str, tuple[Any, Any]] = {
    "url": (options.Url, None),
    "config": (options.Config, None),
    "home": (options.Home, options.DEFAULT_HOME),
    "as_json": (options.AsJson, False),
}


class Session:
    """What a command over REST works with.

    Attributes:
        client: of the server that the options name.
        as_json: whether to print for machines.
    """

    def __init__(self, client: "Client", *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json

    def show(
        self, records: Sequence[Any], table: Callable[[Sequence[Any]], Table], empty: str
    ) -> None:
        """Print records: as a table, or the words for none."""
        if self.as_json:
            print_json(records)
        else:
            out.print(table(records) if records else empty)

    def say(self, done: Any, words: str) -> None:
        """Print what was done: `done` for machines, the words for people."""
        if self.as_json:
            print_json(done)
        else:
            print_line(words)


def over_rest(command: Callable[..., None]) -> Callable[..., None]:
    """A command that gets a `Session` first, made of the options that it need not declare.

    Its own parameter `actor`, where it has one, names who acts.
    """
    own = [*inspect.signature(command).parameters.values()][1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _SHARED.items()
    ]

    @functools.wraps(command)
    def whole(
        *, url: str | None, config: Path | None, home: Path, as_json: bool, **given: Any
    ) -> None:
        with _client(url or server_url(config, home), given) as client:
            command(Session(client, as_json=as_json), **given)

    whole.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    return whole


def _client(url: str, given: Mapping[str, Any]) -> "Client":
    from dist_task_pipelines.client import Client, Retries  # noqa: PLC0415 - when a command runs

    actor = given.get("actor", options.USER)
    return Client(url, actor=actor, retries=Retries(times=2, interval=0.1))
