"""What an `http` task may say in its config, and the request it makes."""

from typing import Any

import pytest
from pydantic import ValidationError

from dist_task_pipelines.executors.http import HttpConfig, http_call

URL = "http://shop.test/pay"


def faults(**config: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        HttpConfig.model_validate({"url": URL, **config})
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.test/pay",
        "//shop.test/pay",
        "file:///etc/passwd",
        "ftp://shop.test/",
        "http://",
        "http:///pay",
        "http://shop.test:99999/",
        "http://shop.test:x/",
        "http://[::1/",
        "http://shop.test/a\r\nX: 1",
        "http://shop.test/\x00",
        "http://shop.test/\ud800",
    ],
)
def test_a_url_that_cannot_be_called(url: str) -> None:
    assert "url\n" in faults(url=url)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("X-A", "1\r\nX-B: 2", "control characters"),
        ("X-A", "\x00", "control characters"),
        ("X-A", "\x7f", "control characters"),
        ("X-A", "\ud800", "lone surrogates"),
        ("X-A", None, "must be a string"),
        ("X-A", ["1"], "must be a string"),
        ("X A", "1", "is not a header name"),
        ("X-A:", "1", "is not a header name"),
        ("X-A\r\nX-B", "1", "is not a header name"),
        ("", "1", "is not a header name"),
        ("é", "1", "is not a header name"),
        ("idempotency-KEY", "mine", "is set by the platform"),
        ("Content-Length", "1", "belongs to the connection"),
        ("transfer-encoding", "chunked", "belongs to the connection"),
    ],
)
def test_a_header_that_is_refused(name: str, value: object, why: str) -> None:
    message = faults(headers={name: value})
    assert f"{name!r} " in message
    assert why in message


def test_all_bad_headers_are_named() -> None:
    message = faults(headers={"A A": 1, "X": "\n", "x": "1"})
    assert all(part in message for part in ("'A A' is not", "'X' must not", "'x' stands there"))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"method": "TRACE"}, "must be one of GET, HEAD"),
        ({"query": {"a": None}}, "'a' must be a string"),
        ({"query": {"a": {"b": 1}}}, "'a' must be a string"),
        ({"query": {"a": [[1]]}}, "'a' must be a string"),
        ({"body": "x", "json": 1}, "exclude each other"),
        ({"url": "http://me:pw@h/", "headers": {"authorization": "Basic x"}}, "exclude each other"),
        ({"follow_redirects": "yes"}, "follow_redirects"),
        ({"verify_tls": False}, "verify_tls"),
    ],
)
def test_a_config_that_is_refused(config: dict[str, Any], why: str) -> None:
    assert why in faults(**config)


def test_equal_configs_and_inputs_make_equal_requests() -> None:
    config = HttpConfig.model_validate({"url": URL + "?a=1", "query": {"b": 2}, "method": "put"})
    one, other = (http_call(config, {"body": {"x": 1.0, "y": "é"}}) for _ in range(2))
    assert one == other
    assert str(one) == "PUT http://shop.test/pay"
    assert str(one.url) == URL + "?a=1&b=2"


def test_a_call_does_not_name_its_credentials() -> None:
    config = HttpConfig.model_validate({"url": "http://me:secret@h/p?token=secret"})
    assert str(http_call(config, {})) == "POST http://h/p"


def test_every_option_is_described() -> None:
    assert all(field.description for field in HttpConfig.model_fields.values())
