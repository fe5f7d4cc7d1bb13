"""The same three calls under stock Dagster: its own launcher, a process for each run."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.platform import JOBS, until
from benchmarks.services import ROOT, new_database
from tests.services import free_port

PATIENCE = 300.0  # seconds
POLL = 0.05
_LAUNCH = """
mutation { launchRun(executionParams: {selector: {
  repositoryLocationName: "stock_job.py", repositoryName: "__repository__", jobName: "stock"}}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def stock_latencies(server: str, participant: str, folder: Path, count: int) -> list[float]:
    """Seconds from the launch of a run by GraphQL to its success, for so many runs in turn."""
    with _dagster(server, participant, folder) as url:
        _seconds(url)  # the first one warms caches
        return [_seconds(url) for _ in range(count)]


def _seconds(url: str) -> float:
    began = time.perf_counter()
    run = _ask(url, _LAUNCH)["launchRun"]["run"]["runId"]
    query = f'{{ runOrError(runId: "{run}") {{ ... on Run {{ status }} }} }}'
    until(lambda: _ask(url, query)["runOrError"]["status"] == "SUCCESS", PATIENCE, POLL)
    return time.perf_counter() - began


@contextmanager
def _dagster(server: str, participant: str, folder: Path) -> Iterator[str]:
    """`dagster dev` with MySQL storage, and runs that are launched at once, not queued."""
    folder.mkdir(parents=True)
    config = {
        "storage": {"mysql": {"mysql_url": new_database(server, "bench_stock")}},
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "DefaultRunCoordinator",
        },
        "telemetry": {"enabled": False},
    }
    (folder / "dagster.yaml").write_text(json.dumps(config))
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-f", str(ROOT / "benchmarks/stock_job.py")]
    process = subprocess.Popen(
        [*command, "-p", str(port)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(folder),
            "BENCH_PARTICIPANT": participant,
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _is_ready(url), PATIENCE, POLL)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(url: str) -> bool:
    with suppress(OSError, KeyError, ValueError):
        return "stock" in json.dumps(_ask(url, JOBS))
    return False


def _ask(url: str, query: str) -> Any:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["data"]
