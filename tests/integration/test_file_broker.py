"""The folder as a broker: messages appear whole, and each is taken by one reader."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import Celery
from kombu.transport.virtual import BrokerState

from dist_task_pipelines.orchestration import file_broker
from dist_task_pipelines.orchestration.bell import Bell
from dist_task_pipelines.orchestration.celery_app import QUEUE, celery_app, send_run
from dist_task_pipelines.orchestration.file_broker import Transport
from dist_task_pipelines.settings import Settings


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    made = celery_app(Settings.load(None, tmp_path))
    yield made
    made.close()


def take(app: Celery) -> str | None:
    """The run id of the next message; None when there is none."""
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[QUEUE](connection.default_channel)
        message = queue.get(no_ack=True, accept=["json"])
    if message is None:
        return None
    (run_id,), *_ = message.payload
    return str(run_id)


def test_messages_come_in_the_order_they_were_sent(app: Celery, tmp_path: Path) -> None:
    for number in range(12):
        send_run(app, f"run-{number}")
    assert [take(app) for _ in range(12)] == [f"run-{number}" for number in range(12)]
    assert take(app) is None
    assert not list((tmp_path / "broker" / "messages").iterdir())


def test_each_is_taken_by_one_reader(app: Celery) -> None:
    sent = {f"run-{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as threads:
        for each in sent:
            threads.submit(send_run, app, each)
        taken: list[str] = []
        while len(taken) < len(sent):
            looks = [threads.submit(take, app) for _ in range(8)]
            taken += [found for look in looks if (found := look.result())]
    assert sorted(taken) == sorted(sent)


def test_half_a_message_is_not_seen(app: Celery, tmp_path: Path) -> None:
    send_run(app, "whole")
    (tmp_path / "broker" / "messages" / f".half.{QUEUE}.msg").write_text("{")
    assert take(app) == "whole"
    assert take(app) is None


def test_a_process_that_ended_at_any_moment_leaves_the_broker_usable(
    app: Celery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that had created the file of a queue's bindings and not written it yet."""
    monkeypatch.setattr(Transport, "global_state", BrokerState())  # as a new process has it
    control = tmp_path / "broker" / "control"
    control.mkdir()
    (control / f"{QUEUE}.exchange").touch()
    send_run(app, "after")
    assert take(app) == "after"


def test_a_reader_that_waits_is_woken_by_who_sends(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_broker, "LOOK_EVERY", 3600)
    got: list[str] = []
    with app.connection_for_read() as connection, ThreadPoolExecutor() as threads:
        consumer = connection.Consumer(app.amqp.queues[QUEUE], accept=["json"])
        consumer.register_callback(lambda body, message: got.append(body[0][0]))
        with consumer:
            waiting = threads.submit(connection.drain_events, timeout=60)
            send_run(app, "run-1")
            waiting.result(30)
    assert got == ["run-1"]


def test_what_is_sent_right_after_the_first_look_wakes_the_reader(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[bool] = []
    look, wait = Transport._deliver_one, Bell.wait

    def look_and_send(transport: Transport) -> bool:
        found = look(transport)
        if not found:
            send_run(app, "run-1")
        return found

    monkeypatch.setattr(Transport, "_deliver_one", look_and_send)
    monkeypatch.setattr(Bell, "wait", lambda bell, seconds: rung.append(wait(bell, seconds)))
    got: list[str] = []
    with app.connection_for_read() as connection:
        consumer = connection.Consumer(app.amqp.queues[QUEUE], accept=["json"])
        consumer.register_callback(lambda body, message: got.append(body[0][0]))
        with consumer:
            connection.drain_events(timeout=1)
    assert got == ["run-1"]
    assert rung == [True]


def test_a_reader_for_whom_nothing_comes_gives_up(app: Celery) -> None:
    with app.connection_for_read() as connection:
        consumer = connection.Consumer(app.amqp.queues[QUEUE], accept=["json"])
        with consumer, pytest.raises(TimeoutError, match="no message"):
            connection.drain_events(timeout=0.01)


def test_a_reader_that_ends_takes_its_bell_down(app: Celery, tmp_path: Path) -> None:
    bells = tmp_path / "broker" / "bells"
    with app.connection_for_read() as connection:
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.01)
        assert len(list(bells.iterdir())) == 1
    assert not list(bells.iterdir())
