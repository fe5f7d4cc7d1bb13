"""Dagster's home, made from the settings: `dagster.yaml`, `workspace.yaml` and its tables.

The files are written as JSON, which is YAML. Passwords go by environment, never into a file.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from sqlalchemy.exc import DBAPIError

from dist_task_pipelines.domain.errors import LedgerUnavailable
from dist_task_pipelines.orchestration.launching import LOCATION
from dist_task_pipelines.orchestration.run_launcher import PlatformRunLauncher
from dist_task_pipelines.orchestration.storage.events import BufferedEventLog
from dist_task_pipelines.settings import Settings, hide_password

STORAGE_URL_VARIABLE = "DIST_TASK_DAGSTER_STORAGE_URL"
HEADER = "# Written by dist-task at every start; change the configuration file instead.\n"


def write_dagster_files(settings: Settings, code_server_port: int) -> tuple[Path, Path]:
    """Write both files under home.

    Returns:
        the folder that is DAGSTER_HOME, and the workspace file.
    """
    home = write_instance_file(settings)
    workspace = home / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": code_server_port, "location_name": LOCATION}
    _write(workspace, {"load_from": [{"grpc_server": server}]})
    return home, workspace


def write_instance_file(settings: Settings) -> Path:
    """Write `dagster.yaml` under home; gives the folder that is DAGSTER_HOME."""
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    _write(home / "dagster.yaml", instance_config(settings))
    return home


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """Dagster's instance, for a worker: connections stay open, events are written together.

    Raises:
        LedgerUnavailable: the storage's database cannot be reached.
    """
    home = write_instance_file(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.update(settings.environment)
    with _opened(settings, home) as instance:
        # Dagster would configure Python's logging anew for every run, which shuts down the
        # handlers of the other runs in the process and deadlocks with them.
        instance.get_yaml_python_handlers = _no_handlers  # type: ignore[method-assign]
        instance._subscribers = _Listeners()
        assert isinstance(instance.event_log_storage, BufferedEventLog)
        instance.event_log_storage.start_buffering()
        yield instance


class _Listeners(dict[str, list[Any]]):
    """Of runs, by their ids. Dagster's own keeps an empty list for every run there ever was."""

    def __missing__(self, run_id: str) -> list[Any]:
        return []


def _no_handlers() -> list[logging.Handler]:
    return []


def create_dagster_tables(settings: Settings, home: Path) -> None:
    """Create the tables of Dagster's storage, before its processes would all do so at once.

    Raises:
        LedgerUnavailable: the storage's database cannot be reached.
    """
    with _opened(settings, home):
        pass


def _opened(settings: Settings, home: Path) -> DagsterInstance:
    if settings.dagster.storage_url:
        os.environ[STORAGE_URL_VARIABLE] = settings.dagster.storage_url
    try:
        return DagsterInstance.from_config(str(home))
    except DBAPIError as error:
        url = hide_password(settings.dagster.storage_url or str(home))
        raise LedgerUnavailable(
            f"Dagster's storage {url} cannot be used: {error.orig}; check that it is running and "
            "that `dagster.storage_url` is right"
        ) from None


def instance_config(settings: Settings) -> dict[str, Any]:
    """What `dagster.yaml` says."""
    config: dict[str, Any] = {
        "storage": {"custom": _storage(settings)},
        "run_coordinator": _class("dagster.core.run_coordinator", "DefaultRunCoordinator"),
        "run_launcher": _class(PlatformRunLauncher.__module__, PlatformRunLauncher.__name__),
        # The ops print nothing, and capturing nothing takes 30 ms a run.
        "compute_logs": _class(
            "dagster.core.storage.noop_compute_log_manager", "NoOpComputeLogManager"
        ),
        "run_monitoring": {
            "enabled": True,
            "poll_interval_seconds": 10,
            "start_timeout_seconds": int(settings.dispatch.start_timeout_seconds),
        },
        "sensors": {"use_threads": True, "num_workers": 4},
        # No asset is materialized by itself or has a freshness policy: no daemon need look.
        "auto_materialize": {"enabled": False, "use_sensors": False},
        "freshness": {"enabled": False},
        "retention": {"sensor": {"purge_after_days": {"skipped": 1, "success": 7, "failure": 7}}},
        # Dagster's events are kept whatever this says; it keeps them off the console.
        "python_logs": {"python_log_level": "INFO"},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }
    return config


def _storage(settings: Settings) -> dict[str, Any]:
    if settings.dagster.storage_url:
        url = {"mysql_url": {"env": STORAGE_URL_VARIABLE}}
        return {
            **_class("dist_task_pipelines.orchestration.storage.mysql", "MySQLStorage"),
            "config": url,
        }
    folder = {"base_dir": str(settings.home / "dagster")}
    return {
        **_class("dist_task_pipelines.orchestration.storage.sqlite", "EmbeddedStorage"),
        "config": folder,
    }


def _class(module: str, name: str) -> dict[str, str]:
    return {"module": module, "class": name}


def _write(path: Path, content: dict[str, Any]) -> None:
    text = HEADER + json.dumps(content, indent=2) + "\n"
    whole = path.with_suffix(f".{os.getpid()}")  # others may be reading it
    whole.write_text(text)
    whole.replace(path)
