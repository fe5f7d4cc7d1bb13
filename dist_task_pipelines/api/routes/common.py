"""What the routes share: who acts, what is answered, which errors a call may have."""

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Header, Path, Request

from dist_task_pipelines import schemas
from dist_task_pipelines.api.asgi import decoded
from dist_task_pipelines.api.platform import Platform, platform_of

DEFAULT_ACTOR = "api"

MEANINGS = {
    400: "The request is not valid, or the state of the thing does not allow it.",
    404: "Nothing has that id.",
    409: "The id stands for another request, the name is taken, a run is working on it, or its "
    "transactions have not settled.",
    413: "The body is larger than `limits.max_body_bytes`.",
    415: "The Content-Type is not JSON.",
    503: "The ledger cannot be used.",
}

Responses: TypeAlias = dict[int | str, dict[str, Any]]


def errors(*codes: int) -> Responses:
    """The errors of a call, for OpenAPI; every call may find the ledger gone."""
    return {
        code: {"model": schemas.ErrorEnvelope, "description": MEANINGS[code]}
        for code in (*codes, 503)
    }


WITH_BODY = (400, 413, 415)


async def _actor(
    actor: Annotated[
        str,
        Header(alias="X-Actor", max_length=100, description="who acts; kept in the audit trail"),
    ] = DEFAULT_ACTOR,
) -> str:
    """Who acts. HTTP hands header values on as Latin-1; names are sent as UTF-8."""
    try:
        return actor.encode("latin-1").decode().strip() or DEFAULT_ACTOR
    except UnicodeError:
        return actor.strip() or DEFAULT_ACTOR


async def _flow_id(
    flow_id: Annotated[str, Path(description="a flow id", examples=[schemas.FLOW_ID])],
) -> str:
    return decoded(flow_id)


async def _instance_id(
    instance_id: Annotated[
        str,
        Path(
            description="a transaction's id, percent-encoded, slashes too",
            examples=[schemas.TRANSACTION_ID],
        ),
    ],
) -> str:
    return decoded(instance_id)


async def runs_address(request: Request) -> str:
    """The address of Dagster's run pages, where the caller reached this server."""
    return f"{request.base_url}runs/"


OnPlatform: TypeAlias = Annotated[Platform, Depends(platform_of)]
Actor: TypeAlias = Annotated[str, Depends(_actor)]
FlowId: TypeAlias = Annotated[str, Depends(_flow_id)]
InstanceId: TypeAlias = Annotated[str, Depends(_instance_id)]
RunsAddress: TypeAlias = Annotated[str, Depends(runs_address)]
