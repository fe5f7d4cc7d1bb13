"""Pages of lists: numbered ones over the first rows, a cursor from anywhere on.

A cursor is opaque: the key of the last row shown.
"""

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.counts import CappedCount
from dist_task_pipelines.domain.errors import DistTaskError, InvalidRequest
from dist_task_pipelines.schemas import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    MAX_PAGED_ROWS,
    Page,
    Pagination,
)

R = TypeVar("R")
V = TypeVar("V", bound=BaseModel)

_NUMBER = re.compile(r"-?[0-9]{1,100}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _number(text: object) -> object:
    if isinstance(text, str) and not _NUMBER.fullmatch(text):
        raise ValueError("must be a number")
    return text


def _switch(text: object) -> object:
    if isinstance(text, str) and text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text


def _time(text: object) -> object:
    if isinstance(text, str) and not _TIME.fullmatch(text):
        raise ValueError("must be a time with its offset, such as 2026-03-01T09:30:00Z")
    return text


Number = Annotated[int, BeforeValidator(_number, json_schema_input_type=int)]
Switch = Annotated[bool, BeforeValidator(_switch, json_schema_input_type=bool)]
Moment = Annotated[AwareDatetime, BeforeValidator(_time, json_schema_input_type=datetime)]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which rows of a list: some at an offset, or those behind a key."""

    size: int
    offset: int = 0
    after: tuple[Any, ...] | None = None

    @property
    def limit(self) -> int:
        """How many rows to read: one more than the page, which tells whether there are more."""
        return self.size + 1


class PageQuery(BaseModel):
    """What every list takes. Unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: Annotated[Number, Field(ge=1)] | None = Field(
        None, description=f"from 1, the default; reaches the first {MAX_PAGED_ROWS:,} rows"
    )
    page_size: Annotated[Number, Field(ge=1)] = Field(
        DEFAULT_PAGE_SIZE, description=f"at most {MAX_PAGE_SIZE}; more is capped"
    )
    cursor: str | None = Field(
        None, description="`next_cursor` of the page before, instead of `page`"
    )

    def filters(self) -> dict[str, Any]:
        """What was asked for besides the page."""
        return self.model_dump(exclude=set(PageQuery.model_fields), exclude_none=True)

    def slice(self, *key: type) -> Slice:
        """The rows meant.

        Args:
            key: the types of the values of a row's key, as a cursor holds them.

        Raises:
            InvalidRequest: the page lies too far, or the cursor is none of ours.
        """
        size = min(self.page_size, MAX_PAGE_SIZE)
        if self.cursor is not None:
            if self.page is not None:
                raise InvalidRequest.at("cursor", "give either page or cursor")
            return Slice(size, after=_key(self.cursor, key))
        last = (self.page or 1) * size
        if last > MAX_PAGED_ROWS:
            raise InvalidRequest.at(
                "page",
                f"reaches row {last}; pages end at row {MAX_PAGED_ROWS}, go on with next_cursor",
            )
        return Slice(size, offset=last - size)


def page_of(
    query: PageQuery,
    records: Sequence[R],
    total: CappedCount,
    *,
    view: Callable[[R], V],
    key: Callable[[R], Sequence[Any]],
) -> Page[V]:
    """The page to answer with; `records` are one more than the page if there is more."""
    size = min(query.page_size, MAX_PAGE_SIZE)
    shown = records[:size]
    return Page[V](
        list=[view(record) for record in shown],
        pagination=Pagination(
            page=None if query.cursor is not None else query.page or 1,
            page_size=size,
            page_size_is_capped=query.page_size > MAX_PAGE_SIZE,
            total=total.count,
            total_is_capped=total.is_capped,
            next_cursor=_cursor(key(shown[-1])) if len(records) > size else None,
        ),
    )


def _cursor(key: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def _key(cursor: str, types: Sequence[type]) -> tuple[Any, ...]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, DistTaskError):
        key = None
    if not isinstance(key, list) or [type(value) for value in key] != list(types):
        raise InvalidRequest.at("cursor", "is none that a list gave; leave it out to begin anew")
    return tuple(key)
