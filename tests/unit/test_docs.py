"""The documentation says what the code does: examples are valid, tables are complete."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dist_task_pipelines.assembly import open_catalog
from dist_task_pipelines.domain.flow import RetrySettings, Task
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.executors.grpc_status import MEANINGS
from dist_task_pipelines.executors.http_reply import Reply, outcome_of
from dist_task_pipelines.flows import resolve_definition
from dist_task_pipelines.flows.definition import CallSpec, TaskSpec
from dist_task_pipelines.ledger import schema, tables
from dist_task_pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?[^)]*\)")
_FENCE = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]*) \|", re.MULTILINE)

# The defaults of the configuration that are no plain values.
IN_WORDS = {
    "database.url": "SQLite under home",
    "dagster.storage_url": "SQLite under home",
    "workers.broker": "a folder under home",
    "dispatch.max_runs_in_flight_per_flow": "three quarters",
    "tls.<name>.ca_file": "the system's",
    "tls.<name>.key_file": "in `cert_file`",
    "tasks.file": "the built-in `configs/tasks.toml`",
}


def links() -> Iterator[tuple[Path, str, str]]:
    for page in PAGES:
        for link, anchor in _LINK.findall(page.read_text()):
            if not link.startswith(("http://", "https://")):
                yield page, link, anchor


def configurations() -> list[str]:
    return [text for page in ROOT.glob("docs/*.md") for text in _TOML.findall(page.read_text())]


def flow_examples() -> Iterator[str]:
    for page in PAGES:
        yield from _FENCE.findall(page.read_text())


def table(page: str, heading: str, first: str) -> Iterator[list[list[str]]]:
    """The rows of a section's table whose first column has this title.

    Of each cell its code words, or the whole of it when it has none.
    """
    for cells in rows(page, heading, first):
        yield [_CODE.findall(cell) or [cell] for cell in cells]


def rows(page: str, heading: str, first: str) -> Iterator[list[str]]:
    """The cells of that table, as they are written."""
    section = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for row in section.split(f"\n| {first} |")[1].split("\n\n")[0].splitlines()[2:]:
        yield [cell.strip() for cell in row.strip("|").split(" | ")]


@pytest.mark.parametrize(("page", "link", "anchor"), list(links()), ids=str)
def test_a_link_leads_somewhere(page: Path, link: str, anchor: str) -> None:
    target = page.parent / link if link else page
    assert target.exists()
    if anchor:
        headings = _HEADING.findall(target.read_text())
        assert anchor in {
            re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings
        }


@pytest.mark.parametrize("example", list(flow_examples()))
def test_a_flow_in_the_docs_is_valid(example: str, tmp_path: Path) -> None:
    registry = Registry.load()
    catalog = open_catalog(Settings.load(None, tmp_path), registry)
    definition = json.loads(example)
    resolve_definition(
        definition,
        name=definition["name"],
        catalog=catalog,
        config_models=registry.config_models(),
    )


@pytest.mark.parametrize("example", configurations())
def test_a_configuration_in_the_docs_is_valid(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{(\w+)\}", example):
        monkeypatch.setenv(name, "x")
    file = tmp_path / "dist_task.toml"
    file.write_text(example)
    Settings.load(file, tmp_path)


@pytest.mark.parametrize("task_type", ["http", "rpc", "mq", "db"])
def test_every_option_of_a_task_type_is_documented(task_type: str) -> None:
    fields = Registry.load().config_models()[task_type].model_fields
    options = {field.alias or name for name, field in fields.items()}
    documented = [cell for name, *_ in table("task-types.md", task_type, "option") for cell in name]
    assert set(documented) == options


def test_every_http_status_is_documented_as_it_is_classified() -> None:
    rows = [(cell[0], *rest) for cell, *rest in table("task-types.md", "http", "status")]
    for status in range(200, 600):
        outcome = outcome_of(Reply(status, "", {}, b""), "GET /", datetime.now(UTC))
        named = [row for row in rows if str(status) in row[0]]
        of_class = [row for row in rows if f"{status // 100}xx" in row[0]]
        _, (retryable, *_), (applied,) = (named or of_class)[0]
        word = "success" if outcome.succeeded else "yes" if outcome.retryable else "no"
        assert (retryable, applied) == (word, outcome.applied), status


def test_every_grpc_status_is_documented_as_it_is_classified() -> None:
    documented = {
        status: (retryable, applied)
        for statuses, (retryable,), (applied,) in table("task-types.md", "rpc", "status")
        for status in statuses
    }
    words = {True: "yes", False: "no"}
    assert documented.pop("OK") == ("success", "yes")
    assert documented == {
        code.name: (words[verdict.retryable], verdict.applied) for code, verdict in MEANINGS.items()
    }


def test_every_key_of_the_configuration_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    documented = {key: cell for keys, cell in _ROW.findall(text) for key in _CODE.findall(keys)}
    assert documented == {
        key: IN_WORDS.get(key) or default_in_words(field) for key, field in fields(Settings)
    }


def default_in_words(field: FieldInfo) -> str:
    """What a table says of a field's default."""
    match field.default:
        case _ if field.is_required():
            return "required"
        case SecretStr() | "" | None:
            return "none"
        case str(text):
            return f"`{text}`"
        case dict() | tuple():
            return "`{}`" if field.default == {} else "`[]`"
    return str(field.default)


def test_every_key_of_a_task_is_documented_with_its_default() -> None:
    documented = {
        cells[0].strip("`"): cells[1] for cells in rows("flow-definition.md", "A task", "key")
    }
    of_the_definition = CallSpec.model_fields.keys() - {"config"}
    first = {key for key, cell in documented.items() if cell.startswith("the definition's")}
    assert first == of_the_definition
    assert documented.keys() == TaskSpec.model_fields.keys()
    assert {key for key, cell in documented.items() if cell == "required"} == {"id", "task_name"}
    made = Task("id", "name", "type")
    for key in documented.keys() - {"id", "task_name", "input_fields", "retry"}:
        expected = json.loads(json.dumps(getattr(made, key)))
        assert last_word(documented[key]) == expected, key


def test_every_key_of_retry_is_documented_with_its_default() -> None:
    documented = {
        cells[0].strip("`"): last_word(cells[1])
        for cells in rows("flow-definition.md", "Retry", "key")
    }
    assert documented == asdict(RetrySettings())


def last_word(cell: str) -> Any:
    """The value that ends the cell; a text that is no JSON is itself."""
    word = cell.rsplit(maxsplit=1)[-1].strip("`")
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word


def test_every_table_of_the_ledger_is_documented() -> None:
    documented = [name for cell, _ in table("architecture.md", "Tables", "table") for name in cell]
    assert sorted(documented) == sorted([*tables.metadata.tables, schema.VERSION_TABLE])


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield prefix + name, field
        else:
            named = "<name>." if "Mapping" in str(field.annotation) else ""
            yield from fields(section, f"{prefix}{name}.{named}")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, whether it is needed, optional, or one of many by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section(part) for part in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section), None)
