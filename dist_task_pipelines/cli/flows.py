"""`dist-task flow ...`: definitions and their versions."""

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dist_task_pipelines.cli import options
from dist_task_pipelines.cli.exits import EXIT_USAGE
from dist_task_pipelines.cli.files import definition_of
from dist_task_pipelines.cli.printing import flows_table, print_error, print_json, print_line
from dist_task_pipelines.cli.session import Session, over_rest
from dist_task_pipelines.domain.errors import Fault, InvalidInput, NotFound

if TYPE_CHECKING:
    from dist_task_pipelines.schemas import FlowVersion

app = typer.Typer(no_args_is_help=True, help="Flow definitions and their versions.")

Name = Annotated[str | None, typer.Option(help="The flow's name, unless the file says.")]
_FLOW_ID = re.compile(r".+_v[0-9]+")


@app.command()
@over_rest
def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The definition, JSON; - reads standard input.")],
    name: Name = None,
    actor: options.Actor = options.USER,
) -> None:
    """Check a definition and store it as the flow's next version.

    An identical definition makes no new version.
    """
    name, definition = definition_of(file, name)
    version = session.client.flows.apply(definition, name)
    session.say(version, f"{version.flow_id} is active")


@app.command()
def lint(
    files: Annotated[list[Path], typer.Argument(help="Definitions, JSON.")],
    name: Name = None,
    config: options.Config = None,
    home: options.Home = options.DEFAULT_HOME,
    as_json: options.AsJson = False,
) -> None:
    """Check definitions; print every fault of each. Needs no server."""
    from dist_task_pipelines.assembly import resolve_flow  # noqa: PLC0415 - heavy
    from dist_task_pipelines.executors import Registry  # noqa: PLC0415
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415

    settings, registry = Settings.load(config, home), Registry.load()
    faults: dict[str, tuple[Fault, ...]] = {}
    for file in files:
        try:
            named, definition = definition_of(file, name)
            resolve_flow(settings, registry, definition, name=named)
        except InvalidInput as error:
            faults[str(file)] = error.faults
            if not as_json:
                print_error(f"{file}: {error}")
        else:
            faults[str(file)] = ()
            if not as_json:
                print_line(f"{file}: no faults")
    if as_json:
        print_json(faults)
    if any(faults.values()):
        raise typer.Exit(EXIT_USAGE)


@app.command("list")
@over_rest
def list_(session: Session, limit: options.Limit = 200) -> None:
    """List the flow versions."""
    flows = list(islice(session.client.flows.list(page_size=min(limit, 200)), limit))
    session.show(flows, flows_table, empty="no flows yet; `dist-task flow apply FILE`")


@app.command()
@over_rest
def show(
    session: Session,
    flow: Annotated[str, typer.Argument(help="A flow id, or a name for its newest version.")],
) -> None:
    """Print a flow version with its definition, as JSON."""
    print_json(session.client.flows.get(flow_id_of(session, flow)))


@app.command()
@over_rest
def activate(
    session: Session, flow_id: options.FlowId, actor: options.Actor = options.USER
) -> None:
    """Accept new transactions for a version again."""
    session.say(session.client.flows.activate(flow_id), f"{flow_id} is active")


@app.command()
@over_rest
def deactivate(
    session: Session, flow_id: options.FlowId, actor: options.Actor = options.USER
) -> None:
    """Refuse new transactions for a version; those it has go on."""
    session.say(session.client.flows.deactivate(flow_id), f"{flow_id} is inactive")


@app.command()
@over_rest
def delete(session: Session, flow_id: options.FlowId, actor: options.Actor = options.USER) -> None:
    """Withdraw a version; refused while it has transactions that have not settled."""
    session.client.flows.delete(flow_id)
    session.say({"flow_id": flow_id, "deleted": True}, f"{flow_id} is deleted")


def flow_id_of(session: Session, flow: str) -> str:
    """The flow id that a person means: itself, or that of a name's newest version."""
    return flow if _FLOW_ID.fullmatch(flow) else _newest(session, flow).flow_id


def _newest(session: Session, name: str) -> "FlowVersion":
    """The newest active version of a flow, or the newest when none is active."""
    versions = list(session.client.flows.list(name=name))
    if not versions:
        raise NotFound("flow", name)
    return next((version for version in versions if version.is_active), versions[0])
