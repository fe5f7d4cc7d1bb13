"""What a person does in the Dagster UI, by the GraphQL that its buttons send."""

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import Any
from urllib.error import HTTPError

from dist_task_pipelines.domain.json import JsonObject
from tests.services.waiting import PATIENCE, eventually

LOCATION = "dist_task_pipelines"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
NOT_KEPT = ("dagster/run_key", "dagster/sensor_name", "dagster/tick", "dagster/sensor_tick_id")
REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}

JOBS = """
query($repository: RepositorySelector!) {
  repositoryOrError(repositorySelector: $repository) { ... on Repository { jobs { name } } }
}
"""
JOB = """
query($job: PipelineSelector!) {
  pipelineOrError(params: $job) {
    ... on Pipeline {
      description
      presets { name runConfigYaml }
      solids { name definition { description metadata { key value } } }
    }
  }
}
"""
CONFIG_SCHEMA = """
query($job: PipelineSelector!) {
  runConfigSchemaOrError(selector: $job) {
    ... on RunConfigSchema {
      rootDefaultYaml
      allConfigTypes {
        key
        ... on CompositeConfigType {
          fields { name description isRequired configTypeKey }
        }
      }
    }
  }
}
"""
VALIDATE = """
query($job: PipelineSelector!, $config: RunConfigData!) {
  isPipelineConfigValid(pipeline: $job, runConfigData: $config, mode: "default") {
    __typename
    ... on RunConfigValidationInvalid { errors { message reason } }
    ... on PythonError { message }
  }
}
"""
LAUNCHED = """
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message reason } }
    ... on Error { message }
"""
LAUNCH = f"""
mutation($parameters: ExecutionParams!) {{
  launchPipelineExecution(executionParams: $parameters) {{ {LAUNCHED} }}
}}
"""
REEXECUTE = f"""
mutation($parameters: ExecutionParams, $reexecutionParameters: ReexecutionParams) {{
  launchPipelineReexecution(
    executionParams: $parameters, reexecutionParams: $reexecutionParameters
  ) {{ {LAUNCHED} }}
}}
"""
TERMINATE = """
mutation($id: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $id, terminatePolicy: $policy) {
    __typename
    ... on Error { message }
  }
}
"""
RUN = """
query($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      runId jobName status rootRunId parentRunId runConfig
      tags { key value }
    }
  }
}
"""
SENSORS = """
query($repository: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repository) {
    ... on Sensors {
      results { name minIntervalSeconds sensorState { ticks(limit: 1) { timestamp status } } }
    }
  }
}
"""
RUNS = """
query($filter: RunsFilter!) {
  runsOrError(filter: $filter) { ... on Runs { results { runId } } }
}
"""
EVENTS = """
query($id: ID!, $after: String) {
  logsForRun(runId: $id, afterCursor: $after) {
    ... on EventConnection {
      cursor
      hasMore
      events {
        __typename
        ... on MessageEvent { message stepKey eventType }
        ... on ErrorEvent { error { ...Texts cause { ...Texts cause { ...Texts } } } }
        ... on RunFailureEvent { error { ...Texts cause { ...Texts cause { ...Texts } } } }
        ... on ExecutionStepFailureEvent { failureMetadata { metadataEntries { ...Entry } } }
        ... on ExecutionStepOutputEvent { metadataEntries { ...Entry } }
      }
    }
  }
}
fragment Texts on PythonError { message }
fragment Entry on MetadataEntry {
  label
  ... on TextMetadataEntry { text }
  ... on IntMetadataEntry { intValue }
  ... on TableMetadataEntry { table { records } }
}
"""

TAKE_UP = ("new_requests", "due_retries", "expired_leases")  # the sensors that move transactions

RunConfig = JsonObject | str  # a str: the text of the Launchpad, YAML


@dataclass(frozen=True)
class Run:
    """A Dagster run, as the UI is told of it."""

    id: str
    job: str
    status: str
    config: JsonObject
    tags: Mapping[str, str]
    parent_id: str | None
    root_id: str | None


@dataclass(frozen=True)
class Event:
    """One event of a run.

    Attributes:
        error: the messages of its error and of what caused that.
        metadata: by label: a text, a number, or the records of a table.
    """

    type: str
    step: str | None
    message: str
    error: str
    metadata: Mapping[str, Any]


class DagsterUI:
    """The Dagster UI at an address."""

    def __init__(self, url: str) -> None:
        self.url = url

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data that a query gives; an error fails the test."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                answer = json.load(reply)
        except HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def job_names(self) -> list[str]:
        """The jobs that are listed."""
        found = self.graphql(JOBS, repository=REPOSITORY)["repositoryOrError"]
        return [job["name"] for job in found["jobs"]]

    def wait_for_job(self, name: str) -> None:
        """Wait until the job is listed."""
        eventually(lambda: name in self.job_names(), f"the job {name} is listed")

    def job(self, name: str) -> Any:
        """The page of a job: its ops and the presets of its Launchpad."""
        return self.graphql(JOB, job=_selector(name))["pipelineOrError"]

    def config_schema(self, job: str) -> Any:
        """What the Launchpad knows of the run config: its types and the default."""
        return self.graphql(CONFIG_SCHEMA, job=_selector(job))["runConfigSchemaOrError"]

    def config_errors(self, job: str, run_config: RunConfig) -> list[str]:
        """What the Launchpad marks as wrong."""
        config = _yaml(run_config)
        found = self.graphql(VALIDATE, job=_selector(job), config=config)["isPipelineConfigValid"]
        return [each["message"] for each in found.get("errors", [])]

    def launch(self, job: str, run_config: RunConfig) -> str:
        """Launch a run from the Launchpad; gives its id."""
        parameters = {"selector": _selector(job), "runConfigData": _yaml(run_config)}
        return _launched(self.graphql(LAUNCH, parameters=parameters)["launchPipelineExecution"])

    def reexecute(self, run_id: str, *, from_failure: bool) -> str:
        """Press Re-execute, for all or from failure; gives the new run's id."""
        strategy = "FROM_FAILURE" if from_failure else "ALL_STEPS"
        parameters = {"parentRunId": run_id, "strategy": strategy, "extraTags": []}
        data = self.graphql(REEXECUTE, reexecutionParameters=parameters)
        return _launched(data["launchPipelineReexecution"])

    def reexecute_steps(self, run: Run, *steps: str) -> str:
        """Press Re-execute for selected steps; gives the new run's id."""
        tags = [
            {"key": key, "value": value} for key, value in run.tags.items() if key not in NOT_KEPT
        ]
        parameters = {
            "selector": _selector(run.job),
            "runConfigData": json.dumps(run.config),
            "stepKeys": steps,
            "executionMetadata": {
                "rootRunId": run.root_id or run.id,
                "parentRunId": run.id,
                "tags": tags,
            },
        }
        data = self.graphql(REEXECUTE, parameters=parameters)
        return _launched(data["launchPipelineReexecution"])

    def terminate(self, run_id: str, *, force: bool = False) -> None:
        """Press Terminate; with `force` the box "Force termination immediately" is ticked."""
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE"
        answer = self.graphql(TERMINATE, id=run_id, policy=policy)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def run(self, run_id: str) -> Run:
        """The run as it is."""
        found = self.graphql(RUN, id=run_id)["runOrError"]
        return Run(
            id=found["runId"],
            job=found["jobName"],
            status=found["status"],
            config=found["runConfig"],
            tags={tag["key"]: tag["value"] for tag in found["tags"]},
            parent_id=found["parentRunId"],
            root_id=found["rootRunId"],
        )

    def runs_tagged(self, key: str, value: str) -> list[str]:
        """The ids of the runs with this tag, newest first."""
        tags = {"tags": [{"key": key, "value": value}]}
        found = self.graphql(RUNS, filter=tags)["runsOrError"]["results"]
        return [each["runId"] for each in found]

    def wait_for_run(self, run_id: str, *statuses: str) -> Run:
        """Wait until the run has ended, or is in one of the statuses."""

        def look() -> Run | None:
            run = self.run(run_id)
            return run if run.status in (statuses or ENDED) else None

        return eventually(look, f"run {run_id} is {statuses or 'at its end'}")

    def failure_of(self, run_id: str) -> str:
        """Why the run failed, as its page says; it must end so."""
        assert self.wait_for_run(run_id).status == "FAILURE"
        return "\n".join(event.error for event in self.events(run_id))

    def sensors(self) -> list[JsonObject]:
        """The sensors, each with its interval and its last tick."""
        found: list[JsonObject] = self.graphql(SENSORS, repository=REPOSITORY)["sensorsOrError"][
            "results"
        ]
        return found

    def wait_for_ticks(self) -> None:
        """Wait until every sensor that moves transactions has looked, later than now."""
        now = time()

        def all_ticked() -> bool:
            last = [
                each["sensorState"]["ticks"] for each in self.sensors() if each["name"] in TAKE_UP
            ]
            return all(
                ticks and ticks[0]["timestamp"] > now and ticks[0]["status"] != "STARTED"
                for ticks in last
            )

        eventually(all_ticked, "every sensor ticks")

    def events(self, run_id: str) -> list[Event]:
        """The events of the run, oldest first."""
        found: list[Event] = []
        after, more = None, True
        while more:
            page = self.graphql(EVENTS, id=run_id, after=after)["logsForRun"]
            found += map(_event, page["events"])
            after, more = page["cursor"], page["hasMore"]
        return found


def _selector(job: str) -> JsonObject:
    return {**REPOSITORY, "pipelineName": job}


def _yaml(run_config: RunConfig) -> str:
    return run_config if isinstance(run_config, str) else json.dumps(run_config)


def _launched(answer: Any) -> str:
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def _event(found: Any) -> Event:
    failure = found.get("failureMetadata") or {}
    entries = found.get("metadataEntries") or failure.get("metadataEntries") or []
    return Event(
        type=found.get("eventType") or found["__typename"],
        step=found.get("stepKey"),
        message=found.get("message") or "",
        error="\n".join(_messages(found.get("error"))),
        metadata={entry["label"]: _value(entry) for entry in entries},
    )


def _messages(error: Any) -> list[str]:
    return [error["message"], *_messages(error.get("cause"))] if error else []


def _value(entry: Any) -> Any:
    if "table" in entry:
        return [json.loads(record) for record in entry["table"]["records"]]
    return entry.get("text", entry.get("intValue"))
