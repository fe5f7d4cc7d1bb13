"""The documentation says what the code does: examples are valid, tables are complete."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dist_task_pipelines.assembly import open_catalog
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.executors.grpc_status import VERDICTS
from dist_task_pipelines.executors.http_reply import Reply, outcome_of
from dist_task_pipelines.flows import resolve_definition
from dist_task_pipelines.ledger import schema, tables
from dist_task_pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_FENCE = re.compile(r"^```json\n(.*?)^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in _LINK.findall(page.read_text()):
            if not link.startswith(("http://", "https://")):
                yield page, link


def configurations() -> list[str]:
    return [text for page in ROOT.glob("docs/*.md") for text in _TOML.findall(page.read_text())]


def flow_examples() -> Iterator[str]:
    for page in PAGES:
        yield from _FENCE.findall(page.read_text())


def first_cells(page: str) -> set[str]:
    """The code words in the first column of a page's tables."""
    cells = _ROW.findall((ROOT / "docs" / page).read_text())
    return {word for cell in cells for word in _CODE.findall(cell)}


def table(page: str, heading: str, first: str) -> Iterator[list[list[str]]]:
    """The rows of a section's table whose first column has this title.

    Of each cell its code words, or the whole of it when it has none.
    """
    section = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = section.split(f"\n| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        yield [_CODE.findall(cell) or [cell] for cell in cells]


@pytest.mark.parametrize(("page", "link"), list(links()), ids=str)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


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
        code.name: (words[verdict.retryable], verdict.applied) for code, verdict in VERDICTS.items()
    }


def test_every_key_of_the_configuration_is_documented() -> None:
    assert first_cells("configuration.md") == set(keys(Settings))


def test_every_table_of_the_ledger_is_documented() -> None:
    documented = [name for cell, _ in table("architecture.md", "Tables", "table") for name in cell]
    assert sorted(documented) == sorted([*tables.metadata.tables, schema.VERSION_TABLE])


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield prefix + name
        else:
            named = "<name>." if "Mapping" in str(field.annotation) else ""
            yield from keys(section, f"{prefix}{name}.{named}")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model of a section, whether it is needed, optional, or one of many by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_section(part) for part in getattr(annotation, "__args__", ()))
    return next((section for section in inner if section), None)
