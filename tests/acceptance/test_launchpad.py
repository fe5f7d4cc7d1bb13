"""One transaction registered and run from the Launchpad."""

from typing import Any

import pytest

from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import flow, left_alone, submit, task
from tests.services.participant import Participant
from tests.services.platform import Platform

FLOWS = {
    "typed": flow(
        task(
            "deduct",
            input_fields=[
                {"name": "user", "type": "string", "required": True},
                {"name": "amount", "type": "float", "required": True},
                {"name": "lines", "type": "[]int"},
                {"name": "due", "type": "time"},
                {"name": "rest", "type": "object"},
            ],
        ),
        task("ship", "deduct"),
    ),
}
JOB = "typed_v1"


def run_config(**batch: Any) -> JsonObject:
    return {"resources": {"batch": {"config": batch}}}


def test_a_launch_registers_its_transaction_and_runs_it(
    platform: Platform, participant: Participant
) -> None:
    params = {"deduct": {"user": "u1", "amount": 99}, "ship": {"nested": {"b": [1, None], "a": ""}}}
    run = platform.launch_transaction(JOB, "pad/1", params)
    assert run.status == "SUCCESS"
    record = platform.transaction("pad/1")
    assert (record.status, record.run_id) == (TransactionStatus.SUCCESS, run.id)
    assert record.params == params
    assert participant.bodies["pad/1:ship"] == [{"nested": {"b": [1, None], "a": ""}}]
    assert participant.calls["pad/1:deduct"] == 1
    assert run.tags["dist_task/flow"] == "typed"
    assert run.tags["dist_task/flow_version"] == "1"


def test_the_launchpad_is_filled_with_an_example_that_runs(platform: Platform) -> None:
    [preset] = platform.job(JOB)["presets"]
    assert platform.config_errors(JOB, preset["runConfigYaml"]) == []
    run = platform.wait_for_run(platform.launch(JOB, preset["runConfigYaml"]))
    assert run.status == "SUCCESS"
    example = run.config["resources"]["batch"]["config"]
    assert set(example["params"]["deduct"]) == {"user", "amount", "lines", "due", "rest"}
    assert platform.transaction(example["transaction_id"]).params == example["params"]


def test_the_launchpad_knows_the_config_s_types(platform: Platform) -> None:
    schema = platform.config_schema(JOB)
    types = {each["key"]: each.get("fields") for each in schema["allConfigTypes"]}
    [fields] = [
        fields
        for fields in types.values()
        if fields and "transaction_id" in [field["name"] for field in fields]
    ]
    by_name = {field["name"]: field for field in fields}
    assert by_name["batch_id"]["configTypeKey"] == "Int"
    assert by_name["transaction_id"]["configTypeKey"] == "String"
    assert all(field["description"] for field in fields)
    for wrong in (
        {"transaction_id": 12},
        {"transaction_id": "pad-wrong", "params": "text"},
        {"batch_id": "7"},
        {"transaction_id": "pad-wrong", "parameters": {}},
    ):
        assert platform.config_errors(JOB, run_config(**wrong)), wrong


def test_the_worker_s_environment_cannot_be_read(platform: Platform) -> None:
    params = {"deduct": {"user": "u1", "amount": 1}}
    for batch in (
        {"transaction_id": {"env": "HOME"}, "params": params},
        {"batch_id": {"env": "SHLVL"}},
    ):
        assert platform.config_errors(JOB, run_config(**batch)), batch
    config = run_config(transaction_id="pad-env", params={"env": "HOME"})
    assert "params.env" in platform.failure_of(platform.launch(JOB, config))
    with pytest.raises(NotFound):
        platform.transaction("pad-env")


def test_a_value_that_looks_like_an_environment_variable_is_text(
    platform: Platform, participant: Participant
) -> None:
    looks_like = {"env": "HOME", "path": {"env": "PATH"}}
    params = {"deduct": {"user": "u1", "amount": 1, "rest": {"env": "HOME"}}, "ship": looks_like}
    platform.launch_transaction(JOB, "pad-looks-like", params)
    assert participant.bodies["pad-looks-like:ship"] == [looks_like]
    assert participant.bodies["pad-looks-like:deduct"][0]["rest"] == {"env": "HOME"}


def test_wrong_params_give_a_failed_run_that_says_what_to_mend(
    platform: Platform, participant: Participant
) -> None:
    params = {"deduct": {"amount": "much", "amout": 1}, "shipp": {}}
    config = run_config(transaction_id="pad-wrong-params", params=params)
    said = platform.failure_of(platform.launch(JOB, config))
    for fault in ("deduct.user", "deduct.amout", "deduct.amount", "shipp"):
        assert fault in said
    with pytest.raises(NotFound):
        platform.transaction("pad-wrong-params")
    assert participant.calls["pad-wrong-params:deduct"] == 0


def test_what_names_no_work_gives_a_failed_run_that_says_so(platform: Platform) -> None:
    cases: list[tuple[JsonObject, str]] = [
        ({}, "either transaction_id (and params) or batch_id"),
        ({"transaction_id": "pad-both", "batch_id": 1}, "either transaction_id"),
        ({"transaction_id": " pad-edge"}, "white space"),
        ({"transaction_id": "x" * 129}, "129 characters"),
        ({"batch_id": 987_654}, "no batch 987654"),
    ]
    runs = [platform.launch(JOB, run_config(**batch)) for batch, _ in cases]
    for run_id, (_, words) in zip(runs, cases, strict=True):
        assert words in platform.failure_of(run_id)


def test_an_id_stands_for_one_request(platform: Platform, participant: Participant) -> None:
    params = {"deduct": {"user": "u1", "amount": 1}}
    assert platform.launch_transaction(JOB, "pad-twice", params).status == "SUCCESS"
    other = {"deduct": {"user": "u1", "amount": 2}}
    config = run_config(transaction_id="pad-twice", params=other)
    said = platform.failure_of(platform.launch(JOB, config))
    assert "'pad-twice' exists with another flow or other params" in said
    assert participant.calls["pad-twice:deduct"] == 1
    assert platform.transaction("pad-twice").status is TransactionStatus.SUCCESS


def test_the_same_request_again_calls_nothing_again(
    platform: Platform, participant: Participant
) -> None:
    params = {"deduct": {"user": "u1", "amount": 1}}
    platform.launch_transaction(JOB, "pad-again", params)
    again = platform.launch_transaction(JOB, "pad-again", params)
    assert left_alone(platform, again.id, "pad-again")
    assert participant.calls["pad-again:deduct"] == 1


def test_an_order_submitted_elsewhere_is_not_run_by_two(
    platform: Platform, participant: Participant
) -> None:
    params = {"deduct": {"user": "u1", "amount": 1}}
    participant.hold("pad-busy:deduct")
    submit(platform, JOB, ["pad-busy"], params)
    participant.wait_for_call("pad-busy:deduct")
    run = platform.launch_transaction(JOB, "pad-busy", params)
    assert "another run is working on it" in left_alone(platform, run.id, "pad-busy")
    participant.release("pad-busy:deduct")
    assert platform.wait_for("pad-busy").run_id != run.id
    assert participant.calls["pad-busy:deduct"] == 1
