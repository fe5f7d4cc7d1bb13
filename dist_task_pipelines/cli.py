"""The command line: `dist-task`.

Works on the ledger directly. Tables for people, `--json` for machines; exit codes: 0 done,
1 failed, 2 wrong usage or input, 3 the ledger cannot be reached.
"""

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import structlog
import typer
from rich.progress import track
from rich.table import Table

from dist_task_pipelines import assembly
from dist_task_pipelines.domain import json
from dist_task_pipelines.domain.errors import (
    DistTaskError,
    Fault,
    InvalidInput,
    LedgerUnavailable,
)
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.domain.status import TransactionStatus
from dist_task_pipelines.engine.submit import SubmitRequest, submit, submit_many
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.printing import (
    err,
    exceptions_table,
    flows_table,
    logs_table,
    out,
    print_error,
    print_json,
    tasks_table,
    transactions_table,
)
from dist_task_pipelines.settings import DEFAULT_HOME, Settings


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


USER = _user()
EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 3
Record = TypeVar("Record")

SUBMIT_CHUNK = 500  # transactions in one commit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Distributed transactions on Dagster: define flows, submit, see what failed, repair it.",
)
flow_app = typer.Typer(no_args_is_help=True, help="Flow definitions and their versions.")
app.add_typer(flow_app, name="flow")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", envvar="DIST_TASK_CONFIG", help="The TOML file.")
]
HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="DIST_TASK_HOME", help="The folder of all that is written."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]
ActorOption = Annotated[str, typer.Option(help="Who; kept in the audit trail.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many at the most.")]
FlowIdArgument = Annotated[str, typer.Argument(help="A flow id, such as order_flow_v1.")]
TransactionArgument = Annotated[str, typer.Argument(help="The transaction's id.")]


def main() -> None:
    """Run the command; the platform's errors become a message and an exit code."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except DistTaskError as error:
        print_error(error)
        raise SystemExit(_exit_code(error)) from None


def _exit_code(error: DistTaskError) -> int:
    if isinstance(error, LedgerUnavailable):
        return EXIT_UNREACHABLE
    return EXIT_USAGE if isinstance(error, InvalidInput) else EXIT_FAILED


@app.command()
def up(
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="The port of the Dagster UI.")
    ] = None,
) -> None:
    """Start everything on this machine and stay until Ctrl-C.

    Migrates the ledger, starts Dagster's webserver, its daemon and the code server, and prints
    `ready http://...` once the UI serves and the sensors run.
    """
    from dist_task_pipelines.orchestration.platform import run_platform  # noqa: PLC0415 - Dagster

    settings = Settings.load(config, home)
    if port is not None:
        settings = settings.with_port(port)
    run_platform(settings, lambda url: out.print(f"ready {url}", highlight=False, soft_wrap=True))


@app.command()
def migrate(
    config: ConfigOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False
) -> None:
    """Bring the ledger's schema up to date; a new one is created."""
    url = assembly.migrate_ledger(Settings.load(config, home))
    if as_json:
        print_json({"migrated": url})
    else:
        out.print(f"migrated {url}", soft_wrap=True)


@flow_app.command("apply")
def flow_apply(
    file: Annotated[Path, typer.Argument(help="The definition, JSON.")],
    name: Annotated[str | None, typer.Option(help="The flow's name, unless the file says.")] = None,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check a definition and store it as the flow's next version.

    An identical definition makes no new version.
    """
    settings = Settings.load(config, home)
    name, definition = _checked_definition(settings, file, name)
    with _ledger(settings) as ledger:
        record = ledger.flows.create(
            name=name,
            definition=definition,
            description=definition.get("description", ""),
            user=USER,
        )
    if as_json:
        print_json(record)
    else:
        out.print(f"{record.id} is active", highlight=False)


@flow_app.command("lint")
def flow_lint(
    files: Annotated[list[Path], typer.Argument(help="Definitions, JSON.")],
    name: Annotated[str | None, typer.Option(help="The flow's name, unless the file says.")] = None,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check definitions; print every fault of each. Needs no ledger."""
    settings = Settings.load(config, home)
    faults: dict[str, list[Fault]] = {}
    for file in files:
        faults[str(file)] = []
        try:
            _checked_definition(settings, file, name)
        except InvalidInput as error:
            faults[str(file)] += error.faults
            if not as_json:
                err.print(f"{file}: {error}", highlight=False, markup=False, soft_wrap=True)
        else:
            if not as_json:
                out.print(f"{file}: no faults", highlight=False, soft_wrap=True)
    if as_json:
        print_json(faults)
    if any(faults.values()):
        raise typer.Exit(EXIT_USAGE)


@flow_app.command("list")
def flow_list(
    config: ConfigOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False
) -> None:
    """List the flow versions."""
    with _ledger(Settings.load(config, home)) as ledger:
        flows = ledger.flows.page()
    _show(flows, flows_table, as_json, empty="no flows yet; `dist-task flow apply FILE`")


@flow_app.command("show")
def flow_show(
    flow: Annotated[str, typer.Argument(help="A flow id, or a name for its newest version.")],
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print a flow version with its definition, as JSON."""
    with _ledger(Settings.load(config, home)) as ledger:
        print_json(ledger.flows.find(flow))


@flow_app.command("activate")
def flow_activate(
    flow_id: FlowIdArgument,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Accept new transactions for a version again."""
    with _ledger(Settings.load(config, home)) as ledger:
        record = ledger.flows.set_active(flow_id, True, user=USER)
    if as_json:
        print_json(record)
    else:
        out.print(f"{flow_id} is active", highlight=False)


@flow_app.command("deactivate")
def flow_deactivate(
    flow_id: FlowIdArgument,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Refuse new transactions for a version; those it has go on."""
    with _ledger(Settings.load(config, home)) as ledger:
        record = ledger.flows.set_active(flow_id, False, user=USER)
    if as_json:
        print_json(record)
    else:
        out.print(f"{flow_id} is inactive", highlight=False)


@app.command("submit")
def submit_command(
    flow: Annotated[
        str | None, typer.Argument(help="A flow id, or a name for its newest active version.")
    ] = None,
    transaction_id: Annotated[
        str | None, typer.Argument(help="The transaction's id: its idempotency key.")
    ] = None,
    params: Annotated[str, typer.Option(help="Parameters by task, as JSON.")] = "{}",
    file: Annotated[
        Path | None,
        typer.Option(help="Many at once: a line of JSON each, {instance_id, flow_id, params}."),
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Submit a transaction, or with --file many.

    The same request again changes nothing; another request under the same id is refused.
    """
    settings = Settings.load(config, home)
    if file is not None:
        _submit_file(settings, file, as_json)
        return
    if flow is None or transaction_id is None:
        raise typer.BadParameter("give a flow and a transaction id, or --file")
    request = SubmitRequest(transaction_id, flow, _object(params, "params"))
    with _ledger(settings) as ledger:
        record = submit(ledger, request, max_params_bytes=settings.limits.max_params_bytes)
    if as_json:
        print_json(record)
    else:
        out.print(transactions_table([record]))


@app.command()
def status(
    transaction_id: Annotated[
        str | None, typer.Argument(help="One transaction; without it the newest are listed.")
    ] = None,
    with_status: Annotated[
        TransactionStatus | None, typer.Option("--status", help="Only those.")
    ] = None,
    flow: Annotated[str | None, typer.Option(help="Only this flow id's.")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a transaction with its tasks and log, or list the newest transactions."""
    with _ledger(Settings.load(config, home)) as ledger:
        if transaction_id is not None:
            _show_transaction(ledger, transaction_id, as_json)
            return
        records = ledger.transactions.page(status=with_status, flow_id=flow, limit=limit)
    _show(records, transactions_table, as_json, empty="no transactions")


@app.command()
def exceptions(
    handled: Annotated[
        bool | None, typer.Option("--handled/--open", help="Only those; by default the open ones.")
    ] = False,
    flow: Annotated[str | None, typer.Option(help="Only this flow id's.")] = None,
    transaction: Annotated[str | None, typer.Option(help="Only this transaction's.")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List the tasks that need a retry or a person, newest first."""
    with _ledger(Settings.load(config, home)) as ledger:
        records = ledger.exceptions.page(
            handled=handled, flow_id=flow, transaction_id=transaction, limit=limit
        )
    _show(records, exceptions_table, as_json, empty="no exceptions")


@app.command()
def retry(
    transaction_id: Annotated[str | None, typer.Argument(help="The transaction's id.")] = None,
    exception: Annotated[int | None, typer.Option(help="One exception instead.")] = None,
    reason: ReasonOption = "",
    actor: ActorOption = USER,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Call the failed tasks of a transaction once more, now; or the task of one exception."""
    if (transaction_id is None) == (exception is None):
        raise typer.BadParameter("give either a transaction id or --exception")
    with _ledger(Settings.load(config, home)) as ledger:
        if exception is not None:
            due = ledger.operators.retry_exception(exception, actor=actor, reason=reason)
            done = {"exception_id": exception, "retry_next_at": due}
        else:
            assert transaction_id is not None
            tasks = ledger.operators.retry_transaction(transaction_id, actor=actor, reason=reason)
            done = {"instance_id": transaction_id, "tasks": tasks}
    _say(done, "will be called again now", as_json)


@app.command()
def handle(
    exception_id: Annotated[int, typer.Argument(help="The exception's id.")],
    remark: Annotated[str, typer.Option(help="What was done about it.")] = "",
    actor: ActorOption = USER,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Settle an exception by hand: its task is not called again."""
    with _ledger(Settings.load(config, home)) as ledger:
        ledger.operators.handle(exception_id, actor=actor, remark=remark)
    _say({"exception_id": exception_id, "handled": True}, "is handled", as_json)


@app.command()
def cancel(
    transaction_id: TransactionArgument,
    reason: ReasonOption = "",
    actor: ActorOption = USER,
    config: ConfigOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Cancel a transaction: at once, or before its next task when a run is working on it."""
    with _ledger(Settings.load(config, home)) as ledger:
        found = ledger.operators.cancel(transaction_id, actor=actor, reason=reason)
    words = {TransactionStatus.CANCELLED: "is cancelled"}
    _say(
        {"instance_id": transaction_id, "status": found},
        words.get(found, "will be cancelled before its next task"),
        as_json,
    )


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = assembly.open_ledger(settings)
    try:
        yield ledger
    finally:
        ledger.close()


def _checked_definition(settings: Settings, file: Path, name: str | None) -> tuple[str, JsonObject]:
    definition = json.loads(_read(file))
    inner = definition.get("name") if isinstance(definition, dict) else None
    name = name or inner
    if not isinstance(name, str):
        raise InvalidInput([Fault(str(file), "has no `name`; add one or give --name")])
    return name, assembly.resolve_flow(settings, Registry.load(), definition, name=name)


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InvalidInput([Fault(str(file), f"cannot be read: {error.strerror}")]) from None


def _object(text: str | bytes, where: str) -> JsonObject:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise InvalidInput([Fault(where, "must be a JSON object")])
    return value


def _submit_file(settings: Settings, file: Path, as_json: bool) -> None:
    requests = _requests(_read(file).splitlines())
    limit = settings.limits.max_params_bytes
    refused: list[dict[str, str]] = []
    with _ledger(settings) as ledger:
        parts = range(0, len(requests), SUBMIT_CHUNK)
        for start in track(parts, "submitting", console=err, disable=not err.is_terminal):
            part = requests[start : start + SUBMIT_CHUNK]
            results = submit_many(ledger, part, max_params_bytes=limit)
            for request, result in zip(part, results, strict=True):
                if isinstance(result, DistTaskError):
                    refused.append({"instance_id": request.transaction_id, "error": str(result)})
                    print_error(_named(request, result))
    accepted = len(requests) - len(refused)
    if as_json:
        print_json({"accepted": accepted, "refused": refused})
    else:
        out.print(f"{accepted} accepted, {len(refused)} refused", highlight=False)
    if refused:
        raise typer.Exit(EXIT_FAILED)


def _named(request: SubmitRequest, error: DistTaskError) -> DistTaskError:
    return DistTaskError(f"{request.transaction_id}: {error}")


def _requests(lines: Sequence[bytes]) -> list[SubmitRequest]:
    """The requests of a file's lines; when any line is none, every fault and no request."""
    requests: list[SubmitRequest] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                requests.append(_request(line))
        except InvalidInput as error:
            place = f"line {number}"
            faults += [
                Fault(f"{place}, {fault.path}" if fault.path else place, fault.message)
                for fault in error.faults
            ]
    if faults:
        raise InvalidInput(faults)
    return requests


def _request(line: bytes) -> SubmitRequest:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise InvalidInput.at("", "must be a JSON object")
    faults = [
        Fault(name, "must be a text")
        for name in ("instance_id", "flow_id")
        if not isinstance(value.get(name), str)
    ]
    unknown = set(value) - {"instance_id", "flow_id", "params"}
    faults += [Fault(name, "unknown key") for name in sorted(unknown)]
    if faults:
        raise InvalidInput(faults)
    return SubmitRequest(value["instance_id"], value["flow_id"], value.get("params"))


def _show_transaction(ledger: Ledger, identifier: str, as_json: bool) -> None:
    record = ledger.transactions.get(identifier)
    tasks, logs = ledger.transactions.tasks(identifier), ledger.transactions.logs(identifier)
    if as_json:
        print_json({"transaction": record, "tasks": tasks, "logs": logs})
        return
    out.print(transactions_table([record]), "", tasks_table(tasks), "", logs_table(logs))


def _show(
    records: Sequence[Record], table: Callable[[Sequence[Record]], Table], as_json: bool, empty: str
) -> None:
    if as_json:
        print_json(records)
    else:
        out.print(table(records) if records else empty)


def _say(done: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    target = done.get("instance_id") or f"exception {done['exception_id']}"
    names: Iterable[str] = done.get("tasks", [])
    which = f" ({', '.join(names)})" if names else ""
    out.print(f"{target}{which} {words}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
