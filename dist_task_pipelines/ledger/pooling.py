"""MySQL connection pools without needless round trips."""

from typing import Any

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import DisconnectionError

from dist_task_pipelines.domain.clock import uptime

IDLE = 1.0  # seconds; whoever comes back sooner finds the server as it was

# Options of an engine: every user commits or rolls back by themselves before they give a
# connection back, so the pool need not roll back once more.
NOTHING_ON_RETURN = {"pool_reset_on_return": None}


def answering_within(seconds: float, url: URL) -> dict[str, float]:
    """Arguments of a connection that waits so long for the server; what the URL says goes first."""
    names = ("read_timeout", "write_timeout")
    return {name: seconds for name in names if name not in url.query}


def ping_idle(engine: Engine) -> None:
    """See whether a connection still stands when it is taken from the pool after a pause.

    SQLAlchemy's `pool_pre_ping` asks each time, which costs every transaction a round trip.
    """

    @event.listens_for(engine, "checkin")
    def remember(_connection: Any, record: Any) -> None:
        record.info["used_at"] = uptime()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or uptime() - used_at < IDLE:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:  # whatever the driver raises: another connection is made
            raise DisconnectionError(str(error)) from error
