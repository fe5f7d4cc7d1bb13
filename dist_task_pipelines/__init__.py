"""Distributed-transaction observability on Dagster: define a flow once, run it for every order."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dist_task_pipelines.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """The client, imported when it is asked for: the platform's own processes do without."""
    if name == "Client":
        from dist_task_pipelines.client import Client  # noqa: PLC0415 - see above

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
