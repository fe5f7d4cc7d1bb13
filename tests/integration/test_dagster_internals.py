"""What the code relies on in Dagster without being promised it, a test for each.

After an upgrade, a failure names the API, what is no longer true of it, and the file that uses it.
The list is whole: what the code imports or overrides and is not on it fails, and so does what has
no place in docs/architecture.md. So nothing private is imported here before a test asks for it.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from logging import getLogger
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import dagster
import pytest

from dist_task_pipelines import orchestration

ROOT = Path(__file__).parents[2]
EXECUTOR = "dist_task_pipelines/orchestration/step_executor.py"
SERVER = "dist_task_pipelines/orchestration/code_server.py"
ONE_PORT = "dist_task_pipelines/orchestration/server.py"
EXECUTION = "dist_task_pipelines/orchestration/run_execution.py"
LAUNCHING = "dist_task_pipelines/orchestration/launching.py"
STORAGE = "dist_task_pipelines/orchestration/storage/"
FILES = "dist_task_pipelines/orchestration/dagster_files.py"
LAUNCHER = "dist_task_pipelines/orchestration/run_launcher.py"
PLATFORM = "dist_task_pipelines/orchestration/platform.py"

BEFORE_THE_FORK = """
import os, sys
from pathlib import Path
from dist_task_pipelines.assembly import migrate_ledger
from dist_task_pipelines.orchestration import platform
from dist_task_pipelines.settings import Settings
settings = Settings.load(None, Path(sys.argv[1]))
migrate_ledger(settings)
platform._plan(settings)
print(len(os.listdir("/proc/self/task")))
"""


@dataclass(frozen=True, slots=True)
class Callee:
    """A private class, function or method, and the parameters it is called with by name."""

    module: str
    name: str
    parameters: tuple[str, ...]
    used_by: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def private(module: str, name: str) -> Any:
    """The class, function or method, imported when it is asked for."""
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


_PLAN = "dagster._core.execution.plan"
_CONTEXT = "dagster._core.execution.context.system"
_SERVER = "dagster._grpc.server"
_MESSAGES = "dagster._grpc.__generated__.dagster_api_pb2"
_CONSOLIDATED = "dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log"

CALLEES = [
    Callee("dagster._core.events", "EngineEventData.interrupted", ("steps_interrupted",), EXECUTOR),
    Callee(
        "dagster._core.execution.api",
        "ExecuteRunWithPlanIterable",
        ("execution_plan", "iterator", "execution_context_manager"),
        EXECUTOR,
    ),
    Callee(
        "dagster._core.execution.context_creation_job",
        "PlanExecutionContextManager",
        (
            "job",
            "execution_plan",
            "run_config",
            "dagster_run",
            "instance",
            "retry_mode",
            "raise_on_error",
            "output_capture",
            "step_dependency_config",
        ),
        EXECUTOR,
    ),
    Callee(_CONTEXT, "StepExecutionContext", (), EXECUTOR),
    Callee(_CONTEXT, "PlanExecutionContext.for_step", ("step", "known_state"), EXECUTOR),
    *(
        Callee(_CONTEXT, f"PlanOrchestrationContext.{name}", (), EXECUTOR)
        for name in (
            "job",
            "run_id",
            "run_config",
            "dagster_run",
            "instance",
            "raise_on_error",
            "output_capture",
        )
    ),
    Callee(
        f"{_PLAN}.plan", "ExecutionPlan.start", ("retry_mode", "step_dependency_config"), EXECUTOR
    ),
    Callee(f"{_PLAN}.plan", "ExecutionPlan.step_keys_to_execute", (), EXECUTOR),
    Callee(f"{_PLAN}.active", "ActiveExecution.get_steps_to_execute", (), EXECUTOR),
    Callee(f"{_PLAN}.active", "ActiveExecution.get_known_state", (), EXECUTOR),
    Callee(f"{_PLAN}.active", "ActiveExecution.handle_event", ("dagster_event",), EXECUTOR),
    Callee(f"{_PLAN}.active", "ActiveExecution.plan_events_iterator", ("job_context",), EXECUTOR),
    Callee(f"{_PLAN}.active", "ActiveExecution.check_for_interrupts", (), EXECUTOR),
    Callee(f"{_PLAN}.execute_plan", "dagster_event_sequence_for_step", ("step_context",), EXECUTOR),
    Callee("dagster._core.execution.retries", "RetryMode.DISABLED", (), EXECUTOR),
    Callee(
        "dagster._core.execution.step_dependency_config",
        "StepDependencyConfig",
        ("require_upstream_step_success",),
        EXECUTOR,
    ),
    Callee("dagster", "Executor.step_dependency_config", (), EXECUTOR),
    Callee("dagster", "DagsterInstance.all_logs", ("run_id", "of_type"), EXECUTOR),
    Callee(
        "dagster._core.types.loadable_target_origin",
        "LoadableTargetOrigin",
        ("executable_path", "python_file", "working_directory"),
        SERVER,
    ),
    Callee("dagster._core.utils", "FuturesAwareThreadPoolExecutor", (), SERVER),
    Callee(
        _SERVER,
        "DagsterApiServer",
        (
            "server_termination_event",
            "logger",
            "server_threadpool_executor",
            "loadable_target_origin",
            "location_name",
            "lazy_load_user_code",
        ),
        SERVER,
    ),
    Callee(_SERVER, "DagsterApiServer.ReloadCode", ("_request", "_context"), SERVER),
    Callee(_SERVER, "DagsterApiServer.ShutdownServer", ("request", "_context"), SERVER),
    Callee(
        _SERVER,
        "LoadedRepositories",
        (
            "loadable_target_origin",
            "container_image",
            "entry_point",
            "container_context",
            "code_location_name",
        ),
        SERVER,
    ),
    Callee(
        _SERVER,
        "DagsterGrpcServer",
        (
            "server_termination_event",
            "dagster_api_servicer",
            "logger",
            "threadpool_executor",
            "host",
            "port",
        ),
        SERVER,
    ),
    Callee(_SERVER, "DagsterGrpcServer.serve", (), SERVER),
    Callee(
        "dagster._core.execution.api",
        "execute_run_iterator",
        ("job", "dagster_run", "instance"),
        EXECUTION,
    ),
    Callee("dagster._core.definitions.job_base", "InMemoryJob", ("job_def",), EXECUTION),
    Callee("dagster._core.events", "EngineEventData.engine_error", ("error",), EXECUTION),
    Callee(
        "dagster._utils.error", "serializable_error_info_from_exc_info", ("exc_info",), EXECUTION
    ),
    *(
        Callee("dagster", f"DagsterInstance.{name}", parameters, EXECUTION)
        for name, parameters in (
            ("get_run_by_id", ("run_id",)),
            ("report_engine_event", ("message", "dagster_run", "engine_event_data")),
            ("report_run_failed", ("dagster_run", "message")),
        )
    ),
    Callee(
        "dagster",
        "DagsterInstance.create_run",
        (
            "run_id",
            "job_name",
            "run_config",
            "tags",
            "parent_run_id",
            "root_run_id",
            "job_snapshot",
            "execution_plan_snapshot",
            "parent_job_snapshot",
            "status",
            "step_keys_to_execute",
            "asset_selection",
            "asset_check_selection",
            "resolved_op_selection",
            "op_selection",
            "remote_job_origin",
            "job_code_origin",
            "asset_graph",
        ),
        LAUNCHING,
    ),
    Callee("dagster", "DagsterInstance.report_dagster_event", ("run_id",), LAUNCHING),
    Callee("dagster", "DagsterInstance.run_launcher", (), LAUNCHING),
    Callee("dagster", "JobDefinition.get_job_snapshot_id", (), LAUNCHING),
    Callee("dagster", "JobDefinition.asset_layer", (), LAUNCHING),
    Callee("dagster._core.code_pointer", "FileCodePointer", (), LAUNCHING),
    Callee("dagster._core.errors", "DagsterRunAlreadyExists", (), LAUNCHING),
    Callee(
        "dagster._core.execution.api", "create_execution_plan", ("job", "run_config"), LAUNCHING
    ),
    Callee("dagster._core.origin", "JobPythonOrigin", (), LAUNCHING),
    Callee("dagster._core.origin", "RepositoryPythonOrigin", (), LAUNCHING),
    *(
        Callee("dagster._core.remote_origin", name, (), LAUNCHING)
        for name in ("RegisteredCodeLocationOrigin", "RemoteJobOrigin", "RemoteRepositoryOrigin")
    ),
    Callee("dagster._core.snap", "snapshot_from_execution_plan", ("execution_plan",), LAUNCHING),
    Callee("dagster._core.snap", "ExecutionPlanSnapshot", (), LAUNCHING),
    Callee("dagster._core.launcher", "LaunchRunContext", ("dagster_run", "workspace"), LAUNCHING),
    Callee("dagster._core.launcher", "LaunchRunContext.dagster_run", (), LAUNCHER),
    Callee("dagster._core.launcher", "CheckRunHealthResult", ("status", "msg"), LAUNCHER),
    Callee("dagster._core.launcher", "WorkerStatus.RUNNING", (), LAUNCHER),
    Callee("dagster._core.launcher", "WorkerStatus.FAILED", (), LAUNCHER),
    Callee("dagster._core.launcher", "RunLauncher.terminate", ("run_id",), LAUNCHER),
    Callee("dagster._core.launcher", "RunLauncher.dispose", (), LAUNCHER),
    Callee("dagster._core.launcher", "RunLauncher.supports_check_run_worker_health", (), LAUNCHER),
    Callee("dagster._core.launcher", "RunLauncher.check_run_worker_health", ("run",), LAUNCHER),
    *(
        Callee(
            "dagster._core.storage.event_log.sql_event_log",
            f"SqlEventLogStorage.{name}",
            parameters,
            STORAGE,
        )
        for name, parameters in (
            ("_event_to_row", ("event",)),
            ("store_event", ("event",)),
            ("run_connection", ("run_id",)),
            ("index_transaction", ()),
            ("get_records_for_run", ("run_id",)),
            ("get_stats_for_run", ("run_id",)),
            ("get_step_stats_for_run", ("run_id",)),
            ("delete_events", ("run_id",)),
            ("handles_run_events_in_store_event", ()),
        )
    ),
    *(
        Callee(
            "dagster._core.storage.runs.sql_run_storage",
            f"SqlRunStorage.{name}",
            parameters,
            STORAGE,
        )
        for name, parameters in (
            ("handle_run_event", ("run_id", "event", "update_timestamp")),
            ("has_run_stats_index_cols", ()),
            ("has_backfill_id_column", ()),
            ("_has_snapshot_id", ("snapshot_id",)),
            ("get_execution_plan_snapshot", ("execution_plan_snapshot_id",)),
            ("connect", ()),
            ("fetchall", ("query",)),
            ("fetchone", ("query",)),
        )
    ),
    Callee("dagster._daemon.cli", "create_dagster_daemon_cli", (), PLATFORM),
    Callee("dagster._core.snap", "ExecutionPlanSnapshot", (), STORAGE),
    *(
        Callee("dagster._core.events", name, (), STORAGE)
        for name in ("ASSET_CHECK_EVENTS", "ASSET_EVENTS", "PIPELINE_EVENTS")
    ),
    Callee("dagster._core.storage.event_log.schema", "SqlEventLogStorageTable.insert", (), STORAGE),
    Callee("dagster._core.events", "EVENT_TYPE_TO_PIPELINE_RUN_STATUS.get", (), STORAGE),
    Callee("dagster._core.storage.dagster_run", "FINISHED_STATUSES", (), STORAGE),
    *(
        Callee("dagster._core.storage.runs.schema", f"RunsTable.c.{column}", (), STORAGE)
        for column in ("run_id", "status", "update_timestamp", "start_time", "end_time")
    ),
    Callee("dagster._core.storage.sql", "create_engine", ("url",), STORAGE),
    Callee("dagster._serdes", "ConfigurableClassData", (), STORAGE),
    Callee("dagster_mysql", "DagsterMySQLStorage.register_instance", ("instance",), STORAGE),
    Callee("dagster_mysql", "MySQLScheduleStorage", ("mysql_url",), STORAGE),
    Callee("dagster_mysql", "MySQLRunStorage", ("mysql_url",), STORAGE),
    Callee("dagster_mysql", "MySQLEventLogStorage", ("mysql_url",), STORAGE),
    *(
        Callee(
            "dagster_mysql",
            f"{storage}.optimize_for_webserver",
            ("statement_timeout", "pool_recycle", "max_overflow"),
            STORAGE,
        )
        for storage in ("MySQLRunStorage", "MySQLEventLogStorage", "MySQLScheduleStorage")
    ),
    Callee("dagster_mysql.utils", "mysql_isolation_level", (), STORAGE),
    Callee("dagster._core.storage.runs", "SqliteRunStorage.from_local", ("base_dir",), STORAGE),
    Callee(
        "dagster._core.storage.schedules",
        "SqliteScheduleStorage.from_local",
        ("base_dir",),
        STORAGE,
    ),
    Callee("dagster._core.storage.sqlite_storage", "DagsterSqliteStorage", (), STORAGE),
    Callee(_CONSOLIDATED, "ConsolidatedSqliteEventLogStorage", ("base_dir",), STORAGE),
    *(
        Callee(_CONSOLIDATED, f"ConsolidatedSqliteEventLogStorage.{name}", given, STORAGE)
        for name, given in (
            ("_connect", ()),
            ("has_table", ("table_name",)),
            ("watch", ("run_id", "cursor", "callback")),
            ("end_watch", ("run_id", "handler")),
            ("dispose", ()),
        )
    ),
    *(
        Callee("dagster._core.storage.event_log", f"SqlPollingEventWatcher.{name}", given, STORAGE)
        for name, given in (
            ("watch_run", ("run_id", "cursor", "callback")),
            ("unwatch_run", ("run_id", "handler")),
            ("close", ()),
        )
    ),
    Callee("dagster._core.event_api", "EventHandlerFn", (), STORAGE),
    Callee("dagster", "DagsterInstance.get_yaml_python_handlers", (), FILES),
    Callee("dagster", "DagsterInstance.report_run_canceling", ("run",), LAUNCHER),
    Callee("dagster._serdes", "ConfigurableClass", (), LAUNCHER),
    Callee("dagster._serdes", "ConfigurableClassData", (), LAUNCHER),
    *(
        Callee(_MESSAGES, name, (), SERVER)
        for name in ("Empty", "ReloadCodeReply", "ReloadCodeRequest")
    ),
    Callee(
        "dagster_webserver.app",
        "create_app_from_workspace_process_context",
        ("workspace_process_context",),
        ONE_PORT,
    ),
    Callee("dagster_webserver.version", "__version__", (), ONE_PORT),
    Callee(
        "dagster._core.workspace.context",
        "WorkspaceProcessContext",
        ("instance", "version", "workspace_load_target"),
        ONE_PORT,
    ),
    Callee("dagster._core.workspace.load_target", "WorkspaceFileTarget", ("paths",), ONE_PORT),
    Callee(
        "dagster._daemon.controller",
        "get_daemon_statuses",
        ("instance", "daemon_types", "ignore_errors"),
        ONE_PORT,
    ),
    Callee("dagster", "DagsterInstance.get_required_daemon_types", (), ONE_PORT),
    Callee("dagster", "DagsterInstance.optimize_for_webserver", (), ONE_PORT),
]


def broken(what: str, used_by: str) -> str:
    return f"Dagster {dagster.__version__}: {what}; {used_by} relies on it"


def parameters_of(found: Any) -> set[str]:
    """Those of its signature; Dagster's records show theirs as annotations only."""
    fields = inspect.get_annotations(found) if inspect.isclass(found) else {}
    return {*inspect.signature(found).parameters, *fields}


def private_imports(file: Path) -> Iterator[str]:
    """What a file imports of Dagster that is not in its public module, as `module.name`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and re.match(r"dagster[._]", node.module or ""):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_all_that_is_imported_of_it_is_on_the_list() -> None:
    for folder in ("dist_task_pipelines", "resources", "sensors"):
        for file in (ROOT / folder).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            listed = {
                ".".join([callee.module, callee.name.partition(".")[0]])
                for callee in CALLEES
                if name.startswith(callee.used_by)
            }
            missing = set(private_imports(file)) - listed
            assert not missing, f"{name} imports {sorted(missing)}: name them in CALLEES"


def overridden(kind: type) -> set[str]:
    """What a class has in place of Dagster's; one without what is abstract cannot be made."""
    ours, theirs = (
        {
            name: value
            for base in kind.__mro__
            if base.__module__.startswith(package)
            for name, value in vars(base).items()
            if callable(value) or isinstance(value, property | classmethod)
        }
        for package in (orchestration.__name__, "dagster")
    )
    abstract = {name for name in theirs if getattr(theirs[name], "__isabstractmethod__", False)}
    return (ours.keys() & theirs.keys()) - abstract - {"__init__"}


def test_all_that_is_overridden_of_it_is_on_the_list() -> None:
    """A method that has another name there is called no more, and nothing else would tell."""
    for module in walk_packages(orchestration.__path__, f"{orchestration.__name__}."):
        file = module.name.replace(".", "/") + ".py"
        listed = {
            callee.name.rpartition(".")[2] for callee in CALLEES if file.startswith(callee.used_by)
        }
        for _, kind in inspect.getmembers(import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name:
                missing = overridden(kind) - listed
                assert not missing, f"{kind} overrides {sorted(missing)}: name them in CALLEES"


def test_every_file_that_relies_on_it_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Where Dagster's private API is used")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(orchestration/[^`]*)`", section, re.MULTILINE))
    used_by = {callee.used_by for callee in CALLEES}
    assert documented == {path.removeprefix("dist_task_pipelines/") for path in used_by}


@pytest.mark.parametrize("callee", CALLEES, ids=str)
def test_it_is_there_and_takes_the_parameters(callee: Callee) -> None:
    try:
        found = private(callee.module, callee.name)
    except (ImportError, AttributeError) as error:
        pytest.fail(broken(f"{callee} is gone ({error})", callee.used_by))
    if callee.parameters:
        missing = set(callee.parameters) - parameters_of(found)
        assert not missing, broken(f"{callee} has no {sorted(missing)}", callee.used_by)


# -- how it behaves, where a name does not tell


def test_the_daemon_is_run_by_a_command() -> None:
    commands = private("dagster._daemon.cli", "create_dagster_daemon_cli")().commands
    assert "run" in commands, broken("the daemon has no command `run`", PLATFORM)
    options = {option for parameter in commands["run"].params for option in parameter.opts}
    assert "--workspace" in options, broken("`run` has no option --workspace", PLATFORM)


def test_it_leaves_one_thread_before_the_processes_are_forked(tmp_path: Path) -> None:
    """A lock that another thread holds at that moment stays locked in the child for ever."""
    ran = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_FORK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("1\n", ""), broken("it starts threads", PLATFORM)


@pytest.fixture
def ended() -> threading.Event:
    return threading.Event()


@pytest.fixture
def servicer(ended: threading.Event) -> Iterator[Any]:
    threads = private("dagster._core.utils", "FuturesAwareThreadPoolExecutor")()
    servicer = private(_SERVER, "DagsterApiServer")(ended, getLogger(), threads)
    yield servicer
    ended.set()
    servicer.cleanup()


@pytest.mark.parametrize(
    "attribute",
    [
        "_loaded_repositories",
        "_serializable_load_error",
        "_server_id",
        "_container_image",
        "_entry_point",
        "_container_context",
    ],
)
def test_the_servicer_has_the_attribute(servicer: Any, attribute: str) -> None:
    assert hasattr(servicer, attribute), broken(f"DagsterApiServer has no {attribute}", SERVER)


def test_the_servicer_serves_the_id_and_the_definitions_that_are_put_in_place(
    servicer: Any,
) -> None:
    servicer._server_id = "another"
    servicer._loaded_repositories = None

    nothing = private(_MESSAGES, "Empty")()
    assert servicer.GetServerId(nothing, None).server_id == "another", broken(
        "GetServerId does not tell DagsterApiServer._server_id", SERVER
    )
    request = private(_MESSAGES, "ListRepositoriesRequest")()
    reply = servicer.ListRepositories(request, None)
    assert "SerializableErrorInfo" in reply.serialized_list_repositories_response_or_error, broken(
        "ListRepositories does not read DagsterApiServer._loaded_repositories", SERVER
    )


def test_the_servicer_sets_off_a_shutdown_without_a_client(
    servicer: Any, ended: threading.Event
) -> None:
    servicer.ShutdownServer(private(_MESSAGES, "Empty")(), None)

    assert ended.wait(10), broken("ShutdownServer does not end an idle server", SERVER)


def test_the_handlers_of_dagster_yaml_are_asked_for_where_a_run_begins() -> None:
    source = inspect.getsource(dagster.DagsterInstance.get_handlers)
    assert "self.get_yaml_python_handlers()" in source, broken(
        "get_handlers does not call get_yaml_python_handlers", FILES
    )


def test_listeners_to_runs_are_in_a_dictionary() -> None:
    with dagster.DagsterInstance.ephemeral() as instance:
        listeners = getattr(instance, "_subscribers", None)
    assert isinstance(listeners, dict), broken("DagsterInstance has no _subscribers", FILES)


def test_a_python_file_is_kept_in_sys_modules_under_its_stem(tmp_path: Path) -> None:
    file = tmp_path / "kept_definitions.py"
    file.write_text("from dagster import Definitions\ndefs = Definitions()\n")
    origin = private("dagster._core.types.loadable_target_origin", "LoadableTargetOrigin")
    target = origin(python_file=str(file), working_directory=str(tmp_path))
    load = private(_SERVER, "LoadedRepositories")
    try:
        load(target, container_image=None, entry_point=[], container_context=None)

        assert "kept_definitions" in sys.modules, broken(
            "a loaded python file is not kept as sys.modules[<stem>]", SERVER
        )
    finally:
        sys.modules.pop("kept_definitions", None)
