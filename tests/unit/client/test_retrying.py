"""Which requests are sent again, how often, and after what wait."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from dist_task_pipelines import Client, schemas
from dist_task_pipelines.client import (
    ClientError,
    Request,
    Response,
    Retries,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from dist_task_pipelines.client.retrying import send
from dist_task_pipelines.client.submitting import PART_BYTES
from dist_task_pipelines.domain.json import JsonObject

ASK = Request("GET", "/api/v1/flows/a")
AT_ONCE = Retries(times=3, interval=0)


class Scripted:
    """A transport that gives what it is told to, one after another."""

    def __init__(self, *answers: Response | ClientError) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, ClientError):
            raise answer
        return answer

    def close(self) -> None:
        pass


def answer(status: int = 200, data: str = "null", **headers: str) -> Response:
    body = f'{{"code": {status if status >= 400 else 0}, "message": "so", "data": {data}}}'
    return Response(status, headers, body.encode())


HANDLED = '{"exception_id": 7, "handled": true}'
ACCEPTED = (
    '{"instance_id": "o", "flow_id": "f_v1", "status": "pending", '
    '"created_at": "2026-03-01T09:30:00.123456Z"}'
)


@pytest.mark.parametrize("trouble", [answer(503), answer(502), answer(429), Unreachable("gone")])
def test_a_question_is_asked_again(trouble: Response | ClientError) -> None:
    transport = Scripted(trouble, trouble, answer(200, data="[]"))
    assert Client(transport=transport, retries=AT_ONCE).task_definitions() == []
    assert len(transport.requests) == 3


def test_a_submit_is_sent_again() -> None:
    transport = Scripted(Unreachable("lost"), answer(200, data=ACCEPTED))
    assert Client(transport=transport, retries=AT_ONCE).submit("f", "o").flow_id == "f_v1"
    assert transport.requests[0] == transport.requests[1]


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.exceptions.handle(7),
        lambda client: client.exceptions.retry(7),
        lambda client: client.flows.apply({"name": "f"}),
        lambda client: client.flows.deactivate("f_v1"),
        lambda client: client.flows.delete("f_v1"),
    ],
    ids=["handle", "retry", "apply", "deactivate", "delete"],
)
@pytest.mark.parametrize("trouble", [answer(503), Unreachable("gone")], ids=["503", "gone"])
def test_an_action_is_never_sent_again(
    act: Callable[[Client], object], trouble: Response | ClientError
) -> None:
    transport = Scripted(trouble, answer(200, data=HANDLED))
    with pytest.raises(Unavailable):
        act(Client(transport=transport, retries=AT_ONCE))
    assert len(transport.requests) == 1


def test_an_answer_that_says_no_is_an_answer() -> None:
    transport = Scripted(answer(500))
    with pytest.raises(UnexpectedAnswer, match="so"):
        Client(transport=transport, retries=AT_ONCE).task_definitions()
    assert len(transport.requests) == 1


@pytest.mark.parametrize("trouble", [answer(503), Unreachable("gone")], ids=["503", "gone"])
def test_at_the_end_the_last_word_counts(trouble: Response | ClientError) -> None:
    transport = Scripted(*[trouble] * 4)
    with pytest.raises(Unavailable, match=r"so|gone"):
        Client(transport=transport, retries=AT_ONCE).task_definitions()
    assert transport.answers == []


def test_the_waits_grow_and_are_bounded() -> None:
    waits: list[float] = []
    transport = Scripted(*[answer(503)] * 6)
    retries = Retries(times=5, interval=1, longest=5)
    send(transport, ASK, retries, is_safe=True, sleep=waits.append)
    assert waits == [1, 2, 4, 5, 5]


def test_the_server_says_how_long_to_wait() -> None:
    waits: list[float] = []
    transport = Scripted(answer(503, **{"retry-after": "7"}), answer(200))
    send(transport, ASK, Retries(), is_safe=True, sleep=waits.append)
    assert waits == [7]


def test_a_longer_wait_than_allowed_is_not_waited_for() -> None:
    transport = Scripted(answer(503, **{"retry-after": "31"}))
    with pytest.raises(Unavailable) as raised:
        Client(transport=transport, retries=Retries(longest=30)).task_definitions()
    assert raised.value.retry_after == 31


@pytest.mark.parametrize("text", ["", "soon", "9999999999"])
def test_a_wait_that_says_nothing_is_none(text: str) -> None:
    waits: list[float] = []
    transport = Scripted(answer(503, **{"retry-after": text}), answer(200))
    send(transport, ASK, Retries(interval=2), is_safe=True, sleep=waits.append)
    assert waits == [2]


def test_a_wait_may_be_a_date() -> None:
    waits: list[float] = []
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    transport = Scripted(answer(503, **{"retry-after": moment}), answer(200))
    send(transport, ASK, Retries(), is_safe=True, sleep=waits.append)
    assert 10 < waits[0] <= 20


def test_an_answer_that_is_not_the_platform_s() -> None:
    for status, body in [(200, b"<html>"), (200, b"{}"), (404, b"<html>"), (404, b'{"detail": 1}')]:
        with pytest.raises(UnexpectedAnswer, match=str(status)):
            Client(transport=Scripted(Response(status, {}, body))).task_definitions()
    with pytest.raises(Unavailable):
        Client(transport=Scripted(Response(503, {}, b"<html>")), retries=Retries(0)).get("x")


def test_a_health_report_of_an_unwell_platform_is_a_report() -> None:
    part = '{"ok": false, "message": "gone"}'
    report = (
        f'{{"status": "unavailable", "version": "1", "database": {part}, "workers": {part}, '
        f'"daemon": {part}}}'
    )
    health = Client(transport=Scripted(answer(503, data=report))).health()
    assert (health.status, health.database.message) == ("unavailable", "gone")


def test_many_are_sent_in_parts_of_a_thousand() -> None:
    transport = Answering()
    wanted = ({"instance_id": f"o{number}", "flow_id": "f"} for number in range(2_500))
    results = Client(transport=transport).submit_many(wanted)
    assert [each.instance_id for each in results] == [f"o{number}" for number in range(2_500)]
    assert transport.sizes == [1000, 1000, 500]


def test_large_ones_are_sent_in_smaller_parts() -> None:
    transport = Answering()
    params = {"a": {"text": "x" * (PART_BYTES // 2 - 100)}}
    wanted = [{"instance_id": str(each), "flow_id": "f", "params": params} for each in range(5)]
    assert len(Client(transport=transport).submit_many(wanted)) == 5
    assert transport.sizes == [2, 2, 1]


def test_a_part_that_the_server_finds_too_large_is_halved() -> None:
    transport = Answering(most=3)
    wanted = [{"instance_id": str(number), "flow_id": "f"} for number in range(10)]
    results = Client(transport=transport).submit_many(wanted)
    assert [each.instance_id for each in results] == [str(number) for number in range(10)]
    assert all(size <= 3 for size in transport.sizes)
    nothing = Client(transport=Answering(most=0)).submit_many(wanted[:2])
    assert [type(each.error) for each in nothing] == [TooLarge, TooLarge]


def test_what_is_no_request_is_not_sent() -> None:
    transport = Answering()
    wanted: list[JsonObject] = [
        {"instance_id": "a", "flow_id": 7},
        {"instance_id": "b", "flow_id": "f"},
        {"instance_id": "c", "flow_id": "f", "parms": {}},
        {"instance_id": "d", "flow_id": "f", "params": {"x": {"y": float("nan")}}},
        {},
    ]
    results = Client(transport=transport).submit_many(wanted)
    assert [each.instance_id for each in results] == ["a", "b", "c", "d", ""]
    assert [each.error is None for each in results] == [False, True, False, False, False]
    assert "parms" in str(results[2].error)
    assert transport.sizes == [1]


class Answering(Scripted):
    """Accepts what is submitted, in bodies of at most `most`."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.most = most
        self.sizes: list[int] = []

    def send(self, request: Request) -> Response:
        sent = schemas.SubmitBatch.model_validate_json(request.body or b"").transactions
        if len(sent) > self.most:
            return answer(413)
        self.sizes.append(len(sent))
        results = ",".join(
            f'{{"instance_id": "{each.instance_id}", "code": 0, "message": "success", "data": '
            f"{ACCEPTED}}}"
            for each in sent
        )
        return answer(
            200, data=f'{{"accepted": {len(sent)}, "refused": 0, "results": [{results}]}}'
        )
