"""`http` tasks: one request to any URL."""

import re
from base64 import b64encode
from itertools import chain
from typing import Any, Self

from multidict import CIMultiDict
from pydantic import Field, field_validator, model_validator

from dist_task_pipelines.domain.json import JsonObject, JsonValue, dumps
from dist_task_pipelines.domain.keys import KEY_HEADER
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import (
    Executor,
    ExecutorConfig,
    Participants,
    Proxy,
    Request,
    Tls,
    invalid_config,
)
from dist_task_pipelines.executors.http_client import (
    Connections,
    HttpCall,
    http_url,
)
from dist_task_pipelines.executors.scalars import is_scalar, written

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_WITHOUT_BODY = ("GET", "HEAD")  # a body has no meaning there (RFC 9110, section 9.3)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # not the tab
_OF_THE_CONNECTION = frozenset(
    [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


class HttpAuth(ExecutorConfig):
    """Who calls: by name and password, or by a token."""

    username: str | None = Field(default=None, description="Basic authentication: the name.")
    password: str | None = Field(default=None, description="Basic authentication: the password.")
    token: str | None = Field(default=None, description="Bearer authentication: the token.")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        basic = (self.username is not None, self.password is not None)
        if basic not in ((True, True), (False, False)) or basic[0] == (self.token is not None):
            raise ValueError("must hold either `username` and `password` or `token`")
        if self.username and ":" in self.username:
            raise ValueError("`username` must not hold a colon")
        if _UNSAFE.search(self.token or ""):
            raise ValueError("`token` must not hold control characters or lone surrogates")
        return self

    @property
    def header(self) -> str:
        """The value of the header Authorization."""
        if self.token is not None:
            return f"Bearer {self.token}"
        pair = f"{self.username}:{self.password}".encode(errors="surrogatepass")
        return f"Basic {b64encode(pair).decode()}"


class HttpConfig(ExecutorConfig):
    """The config of an `http` task."""

    url: str = Field(description="The address to call: an absolute http or https URL.")
    method: str = Field(
        default="POST", description="GET, HEAD, POST, PUT, PATCH or DELETE, in any case."
    )
    headers: dict[str, Any] = Field(
        default={},
        description="Headers to send. Values are strings, numbers or booleans. Idempotency-Key "
        "is always sent by the platform and cannot be set here.",
    )
    query: dict[str, Any] = Field(
        default={},
        description="Parameters to add to the URL's query: strings, numbers or booleans, or a "
        "list of them to repeat one.",
    )
    body: Any = Field(
        default=None,
        description="What to send: a string is sent as it is (text/plain in UTF-8 unless a header "
        "says otherwise), any other value as JSON. Without `body`, `json` and `query` the "
        "input's `body` is sent in the same way, or else the whole input as JSON; GET and HEAD "
        "then send nothing.",
    )
    json_body: Any = Field(
        default=None,
        alias="json",
        description="A value to send as JSON, even a string. Not together with `body`.",
    )
    auth: HttpAuth | None = Field(
        default=None,
        description="Who calls: `username` and `password`, or `token`. Not together with a header "
        "Authorization or a user in the URL.",
    )
    tls: str | None = Field(
        default=None,
        min_length=1,
        description="How to speak TLS, by name, as the configuration's [tls] has it: authorities "
        "and client certificate. Without it the system's authorities are trusted.",
    )
    follow_redirects: bool = Field(
        default=False,
        description="Whether to go where a redirect points, up to 5 times, as a browser does: "
        "301, 302 and 303 turn a POST into a GET. The idempotency key and a body go along; to "
        "another host `headers` and `auth` do not. When false, a redirect is a failure.",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        http_url(value)
        return value

    @field_validator("method")
    @classmethod
    def _check_method(cls, value: str) -> str:
        if value.upper() not in _METHODS:
            raise ValueError(f"must be one of {', '.join(_METHODS)}")
        return value.upper()

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, Any]) -> dict[str, Any]:
        names = [name.lower() for name in value]
        faults = [
            f"{name!r} {fault}"
            for name, item in value.items()
            if (fault := _unsendable(name, item))
        ]
        faults += [f"{name!r} stands there twice" for name in names if names.count(name) > 1]
        _refuse(faults)
        return value

    @field_validator("query")
    @classmethod
    def _check_query(cls, value: dict[str, Any]) -> dict[str, Any]:
        _refuse(
            f"{name!r} must be a string, a number, a boolean or a list of them"
            for name, item in value.items()
            if not all(is_scalar(part) for part in _parts(item))
        )
        return value

    @model_validator(mode="after")
    def _check_body(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("`body` and `json` exclude each other")
        ways = {
            "`auth`": self.auth is not None,
            "an Authorization header": "authorization" in map(str.lower, self.headers),
            "a user in the URL": http_url(self.url).user is not None,
        }
        said = [way for way, is_taken in ways.items() if is_taken]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} exclude each other")
        if self.tls and http_url(self.url).scheme != "https":
            raise ValueError("`tls` needs an https URL")
        return self


class HttpExecutor(Executor[HttpConfig]):
    """Calls any URL."""

    task_type = "http"
    config_model = HttpConfig

    def __init__(self, participants: Participants) -> None:
        self._participants = participants
        self._connections = Connections()

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor that speaks TLS and uses a proxy as the participants' settings say."""
        return cls(participants)

    async def call(self, request: Request[HttpConfig]) -> Outcome:
        """Send the request once."""
        name, known = request.config.tls, self._participants.tls
        if name and name not in known:
            there_are = ", ".join(sorted(known)) or "none"
            return invalid_config(f"config.tls: there is no [tls.{name}]; there are: {there_are}")
        try:
            call = http_call(
                request.config,
                request.input,
                tls=known[name] if name else None,
                proxy=self._participants.proxy,
            )
        except UnicodeError as error:
            return invalid_config(f"the request cannot be written in UTF-8: {error}")
        limit = self._participants.max_response_bytes
        return await self._connections.exchange(call, request, limit)

    async def close(self) -> None:
        """Give back the connections."""
        await self._connections.close()


def http_call(
    config: HttpConfig, input: JsonObject, *, tls: Tls | None = None, proxy: Proxy | None = None
) -> HttpCall:
    """The request that a config and an input make; equal ones make equal bytes.

    Args:
        tls: how it speaks TLS.
        proxy: that it goes through.

    Raises:
        UnicodeError: a text to be sent as it is holds a lone surrogate.
    """
    content, content_type = _content(config, input)
    headers: CIMultiDict[str] = CIMultiDict()
    if content is not None:
        headers["Content-Type"] = content_type
    for name, value in config.headers.items():
        headers[name] = written(value)
    if config.auth:
        headers["Authorization"] = config.auth.header
    pairs = [(name, written(part)) for name, item in config.query.items() for part in _parts(item)]
    "".join(chain.from_iterable(pairs)).encode()  # yarl drops lone surrogates
    url = http_url(config.url)
    return HttpCall(
        config.method,
        url.extend_query(pairs) if pairs else url,
        headers,
        content,
        config.follow_redirects,
        tls,
        proxy,
    )


def _content(config: HttpConfig, input: JsonObject) -> tuple[bytes | None, str]:
    if config.json_body is not None:
        return _as_json(config.json_body)
    if config.body is not None:
        return _as_given(config.body)
    if config.query or config.method in _WITHOUT_BODY:
        return None, ""
    body = input.get("body")
    return _as_json(input) if body is None else _as_given(body)


def _as_given(value: JsonValue) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode(), "text/plain; charset=utf-8"
    return _as_json(value)


def _as_json(value: JsonValue) -> tuple[bytes, str]:
    return dumps(value).encode(), "application/json"


def _unsendable(name: str, value: JsonValue) -> str | None:
    """Why the header cannot be sent, if so."""
    if not _TOKEN.fullmatch(name):
        return "is not a header name"
    if name.lower() == KEY_HEADER.lower():
        return "is set by the platform, the same on every attempt"
    if name.lower() in _OF_THE_CONNECTION:
        return "belongs to the connection and is set with it"
    if not is_scalar(value):
        return "must be a string, a number or a boolean"
    if _UNSAFE.search(written(value)):
        return "must not hold control characters or lone surrogates"
    return None


def _parts(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else [value]


def _refuse(faults: Any) -> None:
    if found := list(faults):
        raise ValueError("; ".join(found))
