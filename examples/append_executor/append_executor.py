"""`append` tasks: a line at the end of a file, exactly once for each idempotency key.

The file is the participant: it remembers the keys, so a repeated call changes nothing.
"""

import asyncio
import errno
import fcntl
import os
from pathlib import Path
from typing import IO, Self

from pydantic import BaseModel, Field

from dist_task_pipelines.executors import (
    Executor,
    ExecutorConfig,
    Outcome,
    Participants,
    Request,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)  # which pass by themselves


class AppendConfig(ExecutorConfig):
    """The config of an `append` task, as a flow gives it."""

    file: str = Field(pattern=r"^\w[\w.-]*$", description="The file's name, without a folder.")
    line: str = Field(pattern=r"^[^\n]*$", description="What to append.")


class AppendOptions(BaseModel):
    """`[executors.append]` of the configuration file."""

    folder: Path = Path()


class AppendExecutor(Executor[AppendConfig]):
    """Appends lines to files of one folder."""

    task_type = "append"
    config_model = AppendConfig

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the configured folder; nothing is opened yet."""
        options = AppendOptions.model_validate(participants.options.get(cls.task_type, {}))
        return cls(options.folder)

    async def call(self, request: Request[AppendConfig]) -> Outcome:
        """Append the line, unless a call with the same key did so before."""
        request.progress.prepare()  # until `send()` a failure had no effect
        try:
            return await asyncio.to_thread(self._append, request)
        except OSError as error:
            return Outcome.failure(
                "FileError",
                f"{request.config.file}: {error.strerror}",
                code=errno.errorcode.get(error.errno or 0, ""),
                retryable=error.errno in _FULL,
                applied=request.progress.applied,
            )

    def _append(self, request: Request[AppendConfig]) -> Outcome:
        with (self._folder / request.config.file).open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines, found = _look_for(request.idempotency_key, file)
            if found:
                return Outcome.success({"line": found}, repeated=True)
            request.progress.send()  # raises when nobody waits any more
            file.write(f"{request.idempotency_key}\t{request.config.line}\n")
            file.flush()
            os.fsync(file.fileno())
            return Outcome.success({"line": lines + 1})


def _look_for(key: str, file: IO[str]) -> tuple[int, int]:
    """How many lines there are, and the number of the one with the key, or 0."""
    file.seek(0)
    keys = [line.partition("\t")[0] for line in file]
    return len(keys), keys.index(key) + 1 if key in keys else 0
