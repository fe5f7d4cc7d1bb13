"""Flow definitions and their versions."""

from collections.abc import Iterator

from dist_task_pipelines import schemas
from dist_task_pipelines.client.calls import Calls, path_of
from dist_task_pipelines.client.errors import InvalidInput
from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject

Definition = JsonObject | str  # a JSON object, or the same as a string


class Flows:
    """`client.flows`. Every method raises `ClientError` when refused or not answered."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def apply(self, definition: JsonObject, name: str | None = None) -> schemas.FlowVersion:
        """Store a definition as the flow's next version; an identical one makes none.

        Args:
            name: the flow's, unless the definition says.

        Raises:
            InvalidInput: every fault of the definition.
        """
        name = name or definition.get("name")
        if not isinstance(name, str):
            fault = Fault("name", "is missing; the definition has none either")
            raise InvalidInput(str(fault), [fault])
        return self.create(name, definition)

    def create(
        self, name: str, definition: Definition, *, flow_type: str = "", description: str = ""
    ) -> schemas.FlowVersion:
        """As `apply`, with more to say about the flow.

        Args:
            flow_type: a label of yours.
            description: by default the definition's.

        Raises:
            InvalidInput: every fault of the definition.
        """
        body = schemas.FlowCreate(
            name=name,
            definition=definition,
            flow_type=flow_type,
            description=description or None,
        )
        return self._calls.act(path_of("flows"), schemas.FlowVersion, body)

    def update(
        self, flow_id: str, definition: Definition, *, description: str = ""
    ) -> schemas.FlowVersion:
        """Make the next version of the flow that this is a version of.

        Raises:
            InvalidInput: every fault of the definition.
            NotFound: nothing has that id.
        """
        body = schemas.FlowUpdate(definition=definition, description=description or None)
        path = path_of("flows", flow_id)
        return self._calls.act(path, schemas.FlowVersion, body, method="PUT")

    def list(
        self, *, name: str | None = None, is_active: bool | None = None, page_size: int = 100
    ) -> Iterator[schemas.FlowVersion]:
        """Versions without their definitions; asked for page by page as they are taken."""
        query = {"name": name, "is_active": is_active, "page_size": page_size}
        return self._calls.pages(path_of("flows"), schemas.FlowVersion, **query)

    def get(self, flow_id: str) -> schemas.FlowVersion:
        """A version with its definition.

        Raises:
            NotFound: nothing has that id.
        """
        return self._calls.get(path_of("flows", flow_id), schemas.FlowVersion)

    def activate(self, flow_id: str) -> schemas.FlowVersion:
        """Take new transactions for a version again.

        Raises:
            NotFound: nothing has that id.
        """
        return self._calls.act(path_of("flows", flow_id, "activate"), schemas.FlowVersion)

    def deactivate(self, flow_id: str) -> schemas.FlowVersion:
        """Take no new transactions for a version; those it has go on.

        Raises:
            NotFound: nothing has that id.
        """
        return self._calls.act(path_of("flows", flow_id, "deactivate"), schemas.FlowVersion)

    def delete(self, flow_id: str) -> None:
        """Withdraw a version.

        Raises:
            NotFound: nothing has that id.
            Conflict: it has transactions that have not settled.
        """
        self._calls.act(path_of("flows", flow_id), schemas.FlowDeleted, method="DELETE")
