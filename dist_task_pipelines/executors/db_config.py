"""What a `db` task may say in its config."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dist_task_pipelines.domain.json import JsonValue
from dist_task_pipelines.executors.base import ExecutorConfig

ANY = "any"
_NOTHING: tuple[object, ...] = (None, {}, [])

# operation: the fields it needs, and those it may have
_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "insert": ({"data"}, set()),
    "update": ({"data", "where"}, {"expect_rows"}),
    "delete": ({"where"}, {"expect_rows"}),
    "upsert": ({"data"}, {"keys"}),
    "select": (set(), {"where", "columns", "limit", "expect_rows"}),
}


class DbConfig(ExecutorConfig):
    """The config of a `db` task."""

    database: str = Field(
        min_length=1, description="The database's name, as the configuration's [databases] has it."
    )
    operation: Literal["insert", "update", "delete", "upsert", "select"] = Field(
        description="What to do. All but `select` take effect exactly once: a row of the table "
        "`dist_task_barrier` in the same database is written together with the change.",
    )
    table: str = Field(min_length=1, description="The table, as the database spells it.")
    data: dict[str, Any] = Field(
        default={},
        description="For insert, update and upsert: the values by column. Decimals may be strings, "
        "times are ISO strings, bytes base64 strings, null is NULL.",
    )
    where: dict[str, Any] = Field(
        default={},
        description="Which rows, by column: all must be equal; a list stands for any of its "
        "values. Needed for update and delete. null is refused, since nothing equals it in SQL.",
    )
    keys: list[str] = Field(
        default=[],
        description="For upsert: the columns of `data` that tell the row; it is updated when it "
        "exists, else inserted. Without them the table's primary key.",
    )
    columns: list[str] = Field(
        default=[], description="For select: the columns to return. Without them all."
    )
    limit: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="For select: the most rows to return; `more` in the output tells whether "
        "there are others. Rows come in the order of the primary key.",
    )
    expect_rows: int | str | None = Field(
        default=None,
        description="For update, delete and select: how many rows there must be, or `any`; "
        "otherwise the task fails and nothing is changed. Without it an update must find at "
        "least one row, and delete and select may find none. A row counts as found even if it "
        "had the new values already.",
    )

    @field_validator("where")
    @classmethod
    def _check_where(cls, value: dict[str, Any]) -> dict[str, Any]:
        faults = [
            f"{name!r} must be a string, a number, a boolean or a list of them"
            for name, item in value.items()
            if not _is_comparable(item)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return value

    @field_validator("expect_rows", mode="before")
    @classmethod
    def _check_expect_rows(cls, value: JsonValue) -> JsonValue:
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not is_count and value not in (None, ANY):
            raise ValueError(f"must be a number of rows from 0 up, or {ANY!r}")
        return value

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        needed, allowed = _FIELDS[self.operation]
        given = {name for name in self.model_fields_set if getattr(self, name) not in _NOTHING}
        optional = set.union(*(needs | mays for needs, mays in _FIELDS.values()))
        faults = [f"{self.operation} needs `{name}`" for name in sorted(needed - given)]
        faults += [
            f"{self.operation} takes no `{name}`"
            for name in sorted((given & optional) - needed - allowed)
        ]
        faults += [f"`data` lacks the key {name!r}" for name in self.keys if name not in self.data]
        if self.operation == "select" and self._expects_more_than_it_reads():
            faults.append(f"`expect_rows` must not be above `limit` ({self.limit})")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _expects_more_than_it_reads(self) -> bool:
        return isinstance(self.expect_rows, int) and self.expect_rows > self.limit

    def named_columns(self) -> set[str]:
        """Every column that the config names."""
        return {*self.data, *self.where, *self.keys, *self.columns}


def _is_comparable(value: JsonValue) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(item, str | int | float) for item in values)
