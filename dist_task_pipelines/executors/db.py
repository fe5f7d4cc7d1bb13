"""`db` tasks: one operation on one table of a named database, exactly once."""

from typing import Self

from sqlalchemy.exc import OperationalError, ProgrammingError

from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import Executor, Participants, Request, invalid_config
from dist_task_pipelines.executors.capture import too_long, unreadable
from dist_task_pipelines.executors.database import CONNECTIONS, Database
from dist_task_pipelines.executors.db_config import DbConfig
from dist_task_pipelines.executors.db_errors import failure
from dist_task_pipelines.executors.db_operations import work_for
from dist_task_pipelines.executors.threads import Threads

_GRACE = 5.0  # seconds that statements under way may go on when the executor closes


class DbExecutor(Executor[DbConfig]):
    """Works on the configured databases, on threads of its own for each."""

    task_type = "db"
    config_model = DbConfig

    def __init__(self, participants: Participants) -> None:
        self._participants = participants
        self._open: dict[str, tuple[Database, Threads]] = {}

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the participants' databases."""
        return cls(participants)

    async def call(self, request: Request[DbConfig]) -> Outcome:
        """Do the operation, or find that it was done before."""
        request.progress.prepare()
        name, databases = request.config.database, self._participants.databases
        if name not in databases:
            known = ", ".join(sorted(databases)) or "none"
            return invalid_config(f"no database {name!r}; there are: {known}")
        try:
            database, threads = self._opened(name)
            return await threads.run(self._done, database, request)
        except Exception as error:
            return failure(error, request.progress.applied)

    async def close(self) -> None:
        """Close the connections; statements under way have a few seconds to end."""
        opened, self._open = self._open, {}
        for database, threads in opened.values():
            await threads.close(_GRACE)
            database.close()

    def _opened(self, name: str) -> tuple[Database, Threads]:
        if name not in self._open:
            url = self._participants.databases[name]
            database = Database(url, self._participants.ledger_uuid)
            self._open[name] = database, Threads(f"db-{name}", CONNECTIONS)
        return self._open[name]

    def _done(self, database: Database, request: Request[DbConfig]) -> Outcome:
        try:
            return self._worked(database, request)
        except (OperationalError, ProgrammingError):
            database.forget_schema()  # it may not be what it was
            raise

    def _worked(self, database: Database, request: Request[DbConfig]) -> Outcome:
        config = request.config
        work = work_for(config, database.table(config.table, config.named_columns()))
        if config.operation == "select":
            output = database.read(work)
            limit = self._participants.max_response_bytes
            fits = len(dumps(output)) <= limit
            return Outcome.success(output if fits else unreadable(too_long(limit)))
        output, repeated = database.write_once(request.idempotency_key, work, request.progress)
        return Outcome.success(output, repeated=True) if repeated else Outcome.success(output)
