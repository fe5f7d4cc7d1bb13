"""The numbers of the platform."""

from dist_task_pipelines import schemas
from dist_task_pipelines.client.calls import Calls, path_of


class Stats:
    """`client.stats`. Every method raises `ClientError` when refused or not answered."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def overview(self) -> schemas.Overview:
        """Those of all flows."""
        return self._calls.get(path_of("stats", "overview"), schemas.Overview)

    def flow(self, flow_id: str) -> schemas.FlowStats:
        """Those of one flow version.

        Raises:
            NotFound: nothing has that id.
        """
        return self._calls.get(path_of("stats", "flows", flow_id), schemas.FlowStats)
