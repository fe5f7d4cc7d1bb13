"""What the database servers have in common."""

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool


def login_error(url: str) -> str | None:
    """Why the server lets nobody in yet; None once it does."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        engine.connect().close()
    except SQLAlchemyError as error:
        return str(error).splitlines()[0]
    return None
