"""The wheel alone, in an environment that has only the dependencies beside it."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from dist_task_pipelines.domain.status import TransactionStatus
from tests.acceptance.making import addressed, flow, task
from tests.services.participant import Participant
from tests.services.platform import SOURCES, dist_task, running_platform

APPLICATION = (
    "definitions.py",
    "resources/",
    "sensors/",
    "migrations/env.py",
    "configs/tasks.toml",
)


EXAMPLE = SOURCES / "examples" / "append_executor"
TASKS = """
[tasks.http_request]
type = "http"
[tasks.append]
type = "append"
config = { file = "notes.txt" }
"""


def built(sources: Path, folder: Path) -> Path:
    """The wheel of a source tree."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=sources, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this source tree."""
    return built(SOURCES, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and with the example of an executor.

    Of this one's packages it sees the dependencies.
    """
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    wheels = (wheel, built(EXAMPLE, tmp_path_factory.mktemp("example")))
    subprocess.run([folder / "bin" / "python", *install, *map(str, wheels)], check=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_the_wheel_holds_the_application_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for each in APPLICATION:
        assert [name for name in names if name.startswith(f"dist_task_pipelines/app/{each}")]
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dist_task_pipelines"}


def test_an_order_goes_through_where_only_the_wheel_is_installed(
    environment: Path, participant: Participant, tmp_path: Path
) -> None:
    users_home, home = tmp_path / "user", tmp_path / "home"
    users_home.mkdir()
    kept = {"PATH", "LANG", "XDG_CACHE_HOME", "PYTHONPYCACHEPREFIX"}
    variables = {name: value for name, value in os.environ.items() if name in kept}
    variables["HOME"] = str(users_home)
    command = [str(environment / "bin" / "dist-task")]

    note = {"id": "note", "task_name": "append", "depends_on": ["ship"], "config": {"line": "x"}}
    definition = addressed(flow(task("deduct"), task("ship", "deduct"), note), participant.url)
    file = tmp_path / "flow.json"
    file.write_text(json.dumps({"name": "wheeled", **definition}))
    (tmp_path / "tasks.toml").write_text(TASKS)
    config = f"tasks.file = '{tmp_path}/tasks.toml'\nexecutors.append.folder = '{tmp_path}'"
    with running_platform(home, config=config, command=command, environment=variables) as platform:
        assert f"serving {environment}" in (home / "logs" / "code_server.log").read_text()
        for arguments in (["flow", "apply", str(file)], ["submit", "wheeled", "wheel-1"]):
            dist_task(*arguments, home=home, command=command, environment=variables)
        platform.wait_for("wheel-1", TransactionStatus.SUCCESS)
        platform.wait_for_run_of("wheel-1")
    assert participant.calls["wheel-1:deduct"] == 1
    assert participant.calls["wheel-1:ship"] == 1
    assert (tmp_path / "notes.txt").read_text() == "wheel-1:note\tx\n"
    assert list(users_home.iterdir()) == []


def test_the_example_of_an_executor_passes_its_own_tests(environment: Path) -> None:
    options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib"]
    tests = [*options, str(EXAMPLE / "test_append_executor.py")]
    command = [str(environment / "bin" / "python"), "-m", "pytest", *tests]
    ran = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
