"""What the processes log of an error."""

from collections.abc import Iterator

import pytest
import structlog

from dist_task_pipelines.logs import log_plainly


@pytest.fixture(autouse=True)
def configuration() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_an_error_is_logged_with_its_stack_and_without_the_values_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_plainly()

    connect("a-secret")

    written = capsys.readouterr()
    assert written.out == ""
    assert "cannot connect" in written.err
    assert "in connect" in written.err
    assert "a-secret" not in written.err


def connect(password: str) -> None:
    try:
        raise OSError("refused")
    except OSError:
        structlog.get_logger().exception("cannot connect")
