"""`dist-task` called in this process, for tests that would spend their time starting processes."""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines import cli


@dataclass(frozen=True)
class Printed:
    """What a command printed."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.out)


Command = Callable[..., Printed]


def dist_task(
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    *arguments: str,
    exit_code: int = 0,
    stdin: str = "",
) -> Printed:
    """Call the entry point on a home; it must end with this exit code.

    A traceback on standard error would be the exception itself here.
    """
    monkeypatch.setenv("DIST_TASK_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["dist-task", *arguments])
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
    out, err = StringIO(), TextIOWrapper(BytesIO(), "utf-8", errors="backslashreplace")
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main()
    err.seek(0)
    printed = Printed(out.getvalue(), err.read())
    assert (ended.value.code or 0) == exit_code, printed.err
    return printed
