from pathlib import Path

import pytest

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.errors import InvalidTaskDefinition
from dist_task_pipelines.flows import Catalog
from tests.unit.flows.making import MODELS, faults_of

CONFIGURED = application_root() / "configs" / "tasks.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tasks.toml"


def test_the_configured_task_definitions() -> None:
    definitions = Catalog.load(CONFIGURED).definitions
    assert {name: each["type"] for name, each in definitions.items()} == {
        "deduct": "rpc",
        "notify": "mq",
        "http_request": "http",
        "rpc": "rpc",
        "db": "db",
    }
    deduct = definitions["deduct"]
    assert deduct["config"] == {"service": "PaymentService", "method": "deduct"}
    fields = deduct["input_fields"]
    assert [(field["name"], field["type"], field["required"]) for field in fields] == [
        ("user_id", "string", True),
        ("amount", "float", True),
        ("order_id", "string", True),
    ]
    open_ones = [name for name, each in definitions.items() if each["input_fields"] is None]
    assert open_ones == ["notify", "http_request", "rpc", "db"]


def test_a_definition_is_kept_with_what_it_says(file: Path) -> None:
    file.write_text(
        """
        [tasks.pay]
        type = "call"
        timeout = 3
        idempotent = false
        input_fields = []
        retry = { strategy = "auto", interval = 5, max_interval = 5 }
        config = { service = "Payé", method = "${input.how}", timeout = 2, retries = "${input.n}" }
        """,
        encoding="utf-8",
    )
    assert dict(Catalog.load(file, MODELS).definitions) == {
        "pay": {
            "type": "call",
            "description": "",
            "config": {
                "service": "Payé",
                "method": "${input.how}",
                "timeout": 2,
                "retries": "${input.n}",
            },
            "input_fields": [],
            "timeout": 3,
            "idempotent": False,
            "retry": {"strategy": "auto", "interval": 5, "max_interval": 5},
        }
    }


def test_an_absent_file_is_named(file: Path) -> None:
    assert faults_of(InvalidTaskDefinition, Catalog.load, file) == [
        (str(file), "cannot be read: No such file or directory")
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[tasks.a]\ntype = ?", "line 2"),
        (b"[tasks.a]\n[tasks.a]", "Cannot declare ('tasks', 'a') twice"),
        (b"\xff", "utf-8"),
    ],
)
def test_what_is_not_toml_is_refused_with_the_place(file: Path, content: bytes, why: str) -> None:
    file.write_bytes(content)
    [(path, message)] = faults_of(InvalidTaskDefinition, Catalog.load, file)
    assert path == str(file)
    assert message.startswith("is not valid TOML: ")
    assert why in message


def test_all_faults_at_once(file: Path) -> None:
    file.write_text(
        """
        more = 1
        [tasks."no name"]
        type = "open"
        [tasks.deduct]
        type = "cal"
        config = { timeout = "3", when = 2024-01-31, url = "${inptu.x}" }
        input_fields = [
            { name = "a", type = "integer" }, { name = "b", type = "int", default = "x" },
        ]
        retry = { interval = 5, max_interval = 4, max_attempts = -1 }
        timeout = 0
        colour = "red"
        [tasks.pay]
        type = "call"
        config = { sevice = "x", retries = "many" }
        number = 5
        """
    )
    paths = [path for path, _ in faults_of(InvalidTaskDefinition, Catalog.load, file, MODELS)]
    assert sorted(paths) == [
        "more",
        "tasks.deduct.colour",
        "tasks.deduct.config.timeout",
        "tasks.deduct.config.url",
        "tasks.deduct.config.when",
        "tasks.deduct.input_fields[0].type",
        "tasks.deduct.input_fields[1].default",
        "tasks.deduct.retry.max_attempts",
        "tasks.deduct.retry.max_interval",
        "tasks.deduct.timeout",
        "tasks.deduct.type",
        "tasks.pay.config.retries",
        "tasks.pay.config.sevice",
        "tasks.pay.number",
        'tasks["no name"]',
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"tasks": 5}, ("tasks", "must be a table, not 5")),
        ({"tasks": {"a": 5}}, ("tasks.a", "must be an object, not 5")),
        ({"tasks": {"a": {}}}, ("tasks.a.type", "is required")),
        (
            {"tasks": {"a": {"type": "grpc"}}},
            ("tasks.a.type", "there is no executor of type 'grpc'; there are: call, open"),
        ),
        (
            {"tasks": {"a": {"type": "call", "config": {"headers": {"x": 1}}}}},
            ("tasks.a.config.headers.x", "must be a valid string, not 1"),
        ),
    ],
)
def test_single_faults(content: dict[str, object], fault: tuple[str, str]) -> None:
    assert faults_of(InvalidTaskDefinition, Catalog.parse, content, MODELS) == [fault]


def test_names_have_at_most_a_hundred_characters() -> None:
    longest = "a" * 100
    assert Catalog.parse({"tasks": {longest: {"type": "open"}}}).definitions.keys() == {longest}
    [(path, message)] = faults_of(
        InvalidTaskDefinition, Catalog.parse, {"tasks": {longest + "a": {"type": "open"}}}
    )
    assert path == f"tasks.{longest}a"
    assert "at most 100 characters" in message


def test_fields_declared_twice_are_named() -> None:
    fields = [{"name": "a", "type": "int"}, {"name": "a", "type": "*"}]
    content = {"tasks": {"t": {"type": "open", "input_fields": fields}}}
    assert faults_of(InvalidTaskDefinition, Catalog.parse, content) == [
        ("tasks.t.input_fields", "declared more than once: a")
    ]


def test_a_config_nested_too_deep_is_refused() -> None:
    config: dict[str, object] = {}
    for _ in range(100):
        config = {"in": config}
    [(_, message)] = faults_of(InvalidTaskDefinition, Catalog.parse, {"tasks": {"t": config}})
    assert "nested deeper" in message


def test_types_are_anything_when_no_models_are_given() -> None:
    assert Catalog.parse({"tasks": {"a": {"type": "of my own"}}}).definitions["a"]["config"] == {}


def test_an_empty_catalog_is_one() -> None:
    assert dict(Catalog.parse({}).definitions) == {}
