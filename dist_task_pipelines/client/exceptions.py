"""The tasks that need a retry or a person."""

from collections.abc import Iterator
from datetime import datetime

from dist_task_pipelines import schemas
from dist_task_pipelines.client.calls import Calls, path_of


class Exceptions:
    """`client.exceptions`. Every method raises `ClientError` when refused or not answered."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        handled: bool | None = None,
        flow_id: str | None = None,
        instance_id: str | None = None,
        task_name: str | None = None,
        fingerprint: str | None = None,
        page_size: int = 100,
    ) -> Iterator[schemas.ExceptionView]:
        """Newest first; asked for page by page as they are taken.

        Args:
            fingerprint: of a cause: only those that have it.
        """
        return self._calls.pages(
            path_of("exceptions"),
            schemas.ExceptionView,
            handled=handled,
            flow_id=flow_id,
            instance_id=instance_id,
            task_name=task_name,
            fingerprint=fingerprint,
            page_size=page_size,
        )

    def get(self, exception_id: int) -> schemas.ExceptionView:
        """One exception.

        Raises:
            NotFound: nothing has that id.
        """
        return self._calls.get(path_of("exceptions", exception_id), schemas.ExceptionView)

    def retry(self, exception_id: int, reason: str = "") -> datetime:
        """Let its task be called once more, now; gives when that is due.

        Raises:
            NotFound: nothing has that id.
            NotAllowed: it is handled already, or its strategy is `no_retry`.
            Conflict: a run is working on its transaction.
        """
        path = path_of("exceptions", exception_id, "retry")
        body = schemas.Reason(reason=reason)
        return self._calls.act(path, schemas.RetryScheduled, body).retry_next_at

    def handle(self, exception_id: int, remark: str = "") -> None:
        """Settle it: its task is not called again.

        Raises:
            NotFound: nothing has that id.
            NotAllowed: it is handled already.
            Conflict: a run is working on its transaction.
        """
        path = path_of("exceptions", exception_id, "handle")
        self._calls.act(path, schemas.Handled, schemas.Handle(remark=remark))
