"""How a request gets to the server: over HTTP, or wherever a test wants it to go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from dist_task_pipelines.client.errors import InvalidInput, Unreachable
from dist_task_pipelines.domain.errors import Fault

# What to say of a request that got no answer; the first that fits.
_WORDS: tuple[tuple[type[requests.RequestException], str], ...] = (
    (requests.ConnectTimeout, "no connection in time"),
    (requests.ReadTimeout, "no answer in time"),
    (requests.exceptions.SSLError, "no secure connection"),
    (requests.exceptions.ProxyError, "the proxy does not answer"),
    (requests.ConnectionError, "no connection"),
    (requests.RequestException, "no answer"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the server.

    Attributes:
        path: from `/api/v1` on, every part percent-encoded.
        body: JSON, or None for none.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answered; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Transport(Protocol):
    """Takes requests to a server."""

    def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            Unreachable: no answer came.
        """

    def close(self) -> None:
        """Give back what it holds; it is not used again."""


class HttpTransport:
    """Sends requests over HTTP; connections are kept and may be used by many threads.

    Args:
        url: where the server is, such as `http://127.0.0.1:3000`.
        connect_timeout: seconds until a connection must stand.
        read_timeout: seconds until the next bytes of an answer must come.
        connections: how many are kept.

    Raises:
        InvalidInput: the URL is none of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = 3.05,
        read_timeout: float = 30,
        connections: int = 10,
    ) -> None:
        self.url = _checked(url).rstrip("/")
        self._timeout = (connect_timeout, read_timeout)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            # Repeats are the business of `retrying.py`, which knows what may be repeated.
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections, max_retries=0))

    def send(self, request: Request) -> Response:
        """Send a request once.

        Raises:
            Unreachable: no answer came.
        """
        prepared = self._prepared(request)
        from_environment = self._session.merge_environment_settings(
            prepared.url, {}, stream=False, verify=None, cert=None
        )
        try:
            answer = self._session.send(
                prepared, timeout=self._timeout, allow_redirects=False, **from_environment
            )
        except requests.RequestException as error:
            raise Unreachable(
                f"cannot reach {self.url}: {_in_words(error)}",
                may_have_arrived=not _never_connected(error),
            ) from error
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, answer.content)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _prepared(self, request: Request) -> requests.PreparedRequest:
        query = f"?{urlencode(request.query)}" if request.query else ""
        url = f"{self.url}{request.path}{query}"
        headers = {name: value.encode() for name, value in request.headers.items()}
        plain = requests.Request(request.method, url, headers, data=request.body)
        prepared = self._session.prepare_request(plain)
        prepared.url = url  # as it is: an id may be `..`, which must not be taken for a folder
        return prepared


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        is_server = False
    if not is_server:
        message = "should be the server's URL, such as http://127.0.0.1:3000"
        raise InvalidInput(f"url {url!r} {message}", [Fault("url", message)])
    return url


def _in_words(error: requests.RequestException) -> str:
    words = next(words for kind, words in _WORDS if isinstance(error, kind))
    cause = _os_error(error)
    return f"{words} ({cause.strerror})" if cause else words


def _never_connected(error: requests.RequestException) -> bool:
    kinds = (requests.ConnectTimeout, NewConnectionError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _os_error(error: BaseException) -> OSError | None:
    """The operating system's word for it."""
    causes = (cause for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror)
    return next(causes, None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies below it, through the layers of requests and urllib3."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        held = (*cause.args, getattr(cause, "reason", None))
        inner = next((each for each in held if isinstance(each, BaseException)), None)
        cause = cause.__cause__ or cause.__context__ or inner
