"""What a person sees and does on the pages of Dagster's assets."""

from dataclasses import dataclass
from typing import Any

from dist_task_pipelines.domain.json import JsonObject
from tests.services.dagster_ui import LAUNCH, REPOSITORY, DagsterUI

ASSET = """
query($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) {
    ... on Asset {
      assetObservations(limit: 100) {
        metadataEntries {
          label
          ... on IntMetadataEntry { intValue }
          ... on FloatMetadataEntry { floatValue }
        }
      }
    }
  }
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            canExecuteIndividually
            executionForLatestMaterialization {
              runId
              status
              evaluation { success description }
            }
          }
        }
      }
    }
  }
}
"""


@dataclass(frozen=True)
class Check:
    """A check of an asset as its page shows it; without a run, a sensor evaluated it."""

    name: str
    status: str | None
    description: str
    run_id: str
    is_executable: bool


class Assets:
    """The assets' pages."""

    def __init__(self, ui: DagsterUI) -> None:
        self._ui = ui

    def observations(self, *key: str) -> list[dict[str, float]]:
        """The numbers observed of an asset, by label, the newest first."""
        observed = self._page(key)["assetOrError"].get("assetObservations", [])
        return [dict(map(_number, each["metadataEntries"])) for each in observed]

    def checks(self, *key: str) -> dict[str, Check]:
        """The checks of an asset, by name."""
        found = self._page(key)["assetNodeOrError"]["assetChecksOrError"]["checks"]
        return {each["name"]: _check(each) for each in found}

    def execute(self, *key: str, check: str) -> str:
        """Press "Execute" at a check; gives the run's id."""
        selector = {
            **REPOSITORY,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [],
            "assetCheckSelection": [{"assetKey": {"path": key}, "name": check}],
        }
        parameters = {"selector": selector, "runConfigData": "{}", "mode": "default"}
        answer = self._ui.graphql(LAUNCH, parameters=parameters)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def _page(self, key: tuple[str, ...]) -> Any:
        return self._ui.graphql(ASSET, key={"path": key})


def _number(entry: JsonObject) -> tuple[str, float]:
    value = entry["floatValue"] if "floatValue" in entry else entry["intValue"]
    return entry["label"], float(value)


def _check(found: Any) -> Check:
    execution = found["executionForLatestMaterialization"] or {}
    evaluation = execution.get("evaluation") or {}
    return Check(
        name=found["name"],
        status=execution.get("status"),
        description=evaluation.get("description") or "",
        run_id=execution.get("runId") or "",
        is_executable=found["canExecuteIndividually"] == "CAN_EXECUTE",
    )
