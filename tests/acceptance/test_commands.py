"""The command line beside a platform that is not up: what it accepts, refuses and prints."""

import json
from pathlib import Path
from typing import Any

import pytest

from dist_task_pipelines.assembly import migrate_ledger, open_ledger
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.settings import Settings
from tests.acceptance.making import flow, register, task
from tests.services.platform import dist_task

FAILED, WRONG_INPUT = 1, 2
TOO_LARGE = 2_000_000  # bytes; the most is 1 MB

OWN_FLOWS = {
    "shop": flow(
        task("deduct", input_fields=[{"name": "amount", "type": "float", "required": True}]),
        task("ship", "deduct"),
    ),
    "open": flow(task("only")),
    "closed": flow(task("only")),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a ledger and flows, where nothing picks up what is submitted."""
    folder = tmp_path_factory.mktemp("home")
    settings = Settings.load(None, folder)
    migrate_ledger(settings)
    register(folder, OWN_FLOWS, "http://127.0.0.1:9")
    ledger = open_ledger(settings)
    ledger.flows.set_active("closed_v1", False)
    ledger.close()
    return folder


@pytest.fixture
def ledger(home: Path) -> Any:
    """The ledger of that home."""
    opened = open_ledger(Settings.load(None, home))
    yield opened
    opened.close()


def refusal(home: Path, *arguments: str, exit_code: int, stdin: str = "") -> str:
    """What a refused command says; only on stderr, and no traceback."""
    done = dist_task(*arguments, home=home, exit_code=exit_code, stdin=stdin)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert "error" in done.stderr.lower()
    return done.stderr


def ids_of(ledger: Ledger, prefix: str) -> set[str]:
    """The ids of the transactions that begin so."""
    records = ledger.transactions.page(limit=1000)
    return {record.id for record in records if record.id.startswith(prefix)}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["nowhere", "bad-1"], FAILED, ["no flow 'nowhere'"]),
        (["shop_v7", "bad-2"], FAILED, ["no flow 'shop_v7'"]),
        (["closed", "bad-3"], FAILED, ["closed_v1", "not active"]),
        (["shop", "bad-4"], WRONG_INPUT, ["params.deduct.amount", "required"]),
        (
            ["shop", "bad-5", "--params", '{"deduct": {"amount": "much", "x": 1}, "nobody": {}}'],
            WRONG_INPUT,
            ["3 faults", "params.deduct.amount", "params.deduct.x", "params.nobody"],
        ),
        (["open", "bad-6", "--params", '{"only": '], WRONG_INPUT, ["line 1 column"]),
        (["open", "bad-7", "--params", "[]"], WRONG_INPUT, ["params", "must be a JSON object"]),
        (["open", "bad-8", "--params", '{"only": {"a": 1, "a": 2}}'], WRONG_INPUT, ["a", "twice"]),
        (["open", "bad-9", "--params", '{"only": {"a": NaN}}'], WRONG_INPUT, ["NaN"]),
        (["open", "bad-" + "x" * 125], WRONG_INPUT, ["129 characters", "128"]),
        (["open", "bad-10 "], WRONG_INPUT, ["white space"]),
        (["open", "bad-\n11"], WRONG_INPUT, ["control characters"]),
        (["open", ""], WRONG_INPUT, ["must not be empty"]),
        (["open"], WRONG_INPUT, ["transaction id"]),
        (["--file", "/no/such/file"], WRONG_INPUT, ["/no/such/file", "cannot be read"]),
    ],
    ids=lambda value: value[0][:12] if isinstance(value, list) else None,
)
def test_what_cannot_be_accepted_is_refused_and_leaves_nothing(
    home: Path, ledger: Ledger, arguments: list[str], exit_code: int, words: list[str]
) -> None:
    said = refusal(home, "submit", *arguments, exit_code=exit_code)
    for each in words:
        assert each in said
    assert ids_of(ledger, "bad-") == set()


def test_any_text_can_be_an_id(home: Path, ledger: Ledger) -> None:
    ids = [
        "it's \"quoted\"",
        "a/b\\c?d=e&f#g%20",
        "🛒-órder-订单",
        "[bold]x[/bold]",
        "--looks-like-an-option",
        "x" * 128,
        "e\u0301 is not \u00e9",
    ]
    for each in ids:
        done = dist_task("submit", "open", "--json", "--", each, home=home)
        assert json.loads(done.stdout)["id"] == each
        assert ledger.transactions.get(each).status == "pending"
    shown = dist_task("status", "--", ids[3], home=home).stdout
    assert ids[3] in shown


def test_the_same_request_is_one_transaction(home: Path) -> None:
    first = dist_task("submit", "open", "same-1", "--json", home=home).stdout
    assert dist_task("submit", "open", "same-1", "--params", "{}", "--json", home=home).stdout == first
    params = ["--params", '{"only": {"a": 1}}']
    said = refusal(home, "submit", "open", "same-1", *params, exit_code=FAILED)
    assert "'same-1' exists with another flow or other params" in said


def test_a_file_s_good_lines_are_accepted_and_its_bad_ones_named(
    home: Path, ledger: Ledger, tmp_path: Path
) -> None:
    large = {"only": {"text": "x" * TOO_LARGE}}
    lines = [
        {"instance_id": "file-1", "flow_id": "open"},
        {"instance_id": "file-2", "flow_id": "nowhere"},
        {"instance_id": "file-3", "flow_id": "shop", "params": {"deduct": {"amount": 1}}},
        {"instance_id": "file-4", "flow_id": "open", "params": large},
        {"instance_id": "file-5", "flow_id": "open", "params": {"only": {"ключ": "😀"}}},
        {"instance_id": "file-1", "flow_id": "open", "params": {"only": {"again": True}}},
        {"instance_id": "file-" + "x" * 124, "flow_id": "open"},
        {"instance_id": "file-3", "flow_id": "shop", "params": {"deduct": {"amount": 1.0}}},
    ]
    file = tmp_path / "orders.jsonl"
    file.write_text("\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    done = dist_task("submit", "--file", str(file), home=home, exit_code=FAILED)
    assert "4 accepted, 4 refused" in done.stdout
    refused = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert [line.split(": ")[1][:6] for line in refused] == ["file-2", "file-4", "file-1", "file-x"]
    assert "2000" in done.stderr
    assert "the most is 1048576" in done.stderr
    assert ids_of(ledger, "file-") == {"file-1", "file-3", "file-5"}
    assert ledger.transactions.get("file-5").params == {"only": {"ключ": "😀"}}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"instance_id": "half-2", "flow_id": "open"', "line 2"),
        ('{"instance_id": "half-2"}', "flow_id"),
        ('["half-2"]', "line 2"),
        ('{"instance_id": "half-2", "flow_id": "open", "params": []}', "params"),
        ('{"instance_id": 7, "flow_id": "open"}', "instance_id"),
        ('{"instance_id": "half-2", "flow_id": null}', "flow_id"),
        ('{"instance_id": "half-2", "flow_id": "open", "parms": {}}', "parms"),
        ('{"instance_id": "half-2", "instance_id": "half-3", "flow_id": "open"}', "twice"),
        ('{"instance_id": "half-\\ud800", "flow_id": "open"}', "surrogates"),
    ],
    ids=["cut", "no-flow", "array", "params", "number", "null", "unknown", "twice", "surrogate"],
)
def test_a_line_that_is_no_request_is_named(
    home: Path, ledger: Ledger, line: str, words: str
) -> None:
    good = json.dumps({"instance_id": "half-1", "flow_id": "open"})
    file = f"{good}\n{line}\n"
    done = dist_task("submit", "--file", "-", home=home, exit_code=WRONG_INPUT, stdin=file)
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    assert "line 2" in done.stderr or "half-" in done.stderr
    assert ids_of(ledger, "half-") == set()


def test_many_at_once_are_accepted_once(home: Path, ledger: Ledger) -> None:
    lines = "\n".join(
        json.dumps({"instance_id": f"many-{number}", "flow_id": "open"}) for number in range(1100)
    )
    for _ in range(2):
        done = dist_task("submit", "--file", "-", home=home, stdin=lines)
        assert "1100 accepted, 0 refused" in done.stdout
    found = dist_task("status", "--flow", "open_v1", "--limit", "1000", "--json", home=home)
    assert len({each["id"] for each in json.loads(found.stdout)}) == 1000


def test_flows_are_checked_listed_and_shown(home: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    steps = [{"id": "only", "task_name": "http_request", "config": {"url": "http://127.0.0.1:9"}}]
    good.write_text(json.dumps({"name": "applied", "tasks": steps}))
    bad.write_text(
        json.dumps(
            {
                "name": "bad",
                "tasks": [
                    {"id": "a", "task_name": "http_request", "depends_on": ["b"], "config": {}},
                    {"id": "b", "task_name": "nothing", "depends_on": ["a", "c"]},
                    {"id": "class", "task_name": "http_request", "colour": 1},
                ],
            }
        )
    )
    linted = dist_task("flow", "lint", str(good), str(bad), home=home, exit_code=WRONG_INPUT)
    assert "good.json: no faults" in linted.stdout
    for fault in ("tasks[0].config.url", "tasks[1].task_name", "'c'", "colour", "a -> b"):
        assert fault in linted.stderr
    said = refusal(home, "flow", "apply", str(bad), exit_code=WRONG_INPUT)
    assert "tasks[1].task_name" in said
    assert "applied_v1 is active" in dist_task("flow", "apply", str(good), home=home).stdout
    listed = json.loads(dist_task("flow", "list", "--json", home=home).stdout)
    assert {"applied_v1", "open_v1"} <= {each["id"] for each in listed}
    assert "bad_v1" not in {each["id"] for each in listed}
    shown = json.loads(dist_task("flow", "show", "applied", home=home).stdout)
    assert shown["id"] == "applied_v1"
    assert "no flow 'bad'" in refusal(home, "flow", "show", "bad", exit_code=FAILED)
    table = dist_task("flow", "list", home=home).stdout
    assert "applied_v1" in table


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "nobody"],
        ["retry", "nobody"],
        ["retry", "--exception", "99"],
        ["handle", "99"],
        ["cancel", "nobody"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_to_be_missing(home: Path, arguments: list[str]) -> None:
    said = refusal(home, *arguments, exit_code=FAILED)
    assert "no transaction 'nobody'" in said or "no exception 99" in said


@pytest.mark.parametrize(
    "arguments",
    [["retry"], ["retry", "x", "--exception", "1"], ["handle", "x"], ["status", "--limit", "0"]],
    ids=" ".join,
)
def test_wrong_usage_is_told_apart(home: Path, arguments: list[str]) -> None:
    refusal(home, *arguments, exit_code=WRONG_INPUT)


def test_an_empty_ledger_has_something_to_say(tmp_path: Path) -> None:
    done = dist_task("migrate", home=tmp_path)
    assert f"migrated sqlite:///{tmp_path}/ledger.db" in done.stdout
    assert dist_task("migrate", home=tmp_path).stdout == done.stdout
    for command in (["status"], ["exceptions"], ["flow", "list"]):
        assert json.loads(dist_task(*command, "--json", home=tmp_path).stdout) == []
        assert "no " in dist_task(*command, home=tmp_path).stdout
