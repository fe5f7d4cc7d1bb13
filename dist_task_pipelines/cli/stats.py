"""`dist-task stats`: how things stand."""

from itertools import islice
from typing import Annotated

import typer

from dist_task_pipelines.cli.flows import flow_id_of
from dist_task_pipelines.cli.printing import flow_stats_table, out, overview_table, print_json
from dist_task_pipelines.cli.session import Session, over_rest

MOST_FLOWS = 100


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(stats)


@over_rest
def stats(
    session: Session,
    flow: Annotated[
        str | None, typer.Argument(help="A flow id, or a name for its newest version.")
    ] = None,
) -> None:
    """Show the numbers: of all flows and of each active one, or of one flow version."""
    numbers = session.client.stats
    if flow is not None:
        session.show([numbers.flow(flow_id_of(session, flow))], flow_stats_table, empty="")
        return
    active = islice(session.client.flows.list(is_active=True), MOST_FLOWS)
    overview, flows = numbers.overview(), [numbers.flow(each.flow_id) for each in active]
    if session.as_json:
        print_json({"overview": overview, "flows": flows})
        return
    out.print(overview_table(overview))
    if flows:
        out.print("", flow_stats_table(flows))
