"""The two packages that own the module `rocketmq`, as processes see them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ServiceUnavailable
from tests.services.process import complete_or_not, default_cache_dir, run

ROOT = Path(__file__).parents[3]
LEGACY = "rocketmq-client-python==2.0.0"

SEND = """
import asyncio, json, sys
from dist_task_pipelines.executors import Participants, Registry, RocketMQ

async def send():
    registry = Registry.load().connect(
        Participants(rocketmq=RocketMQ("127.0.0.1:1", driver=sys.argv[1])))
    outcome = await registry.get("mq").execute(
        {"topic": "paid"}, {}, idempotency_key="1:x", timeout=20)
    await registry.close()
    return [outcome.error.type, outcome.error.message, outcome.retryable]

print(json.dumps(asyncio.run(send())))
"""


@pytest.fixture(scope="session")
def legacy_package() -> Path:
    """A folder with the real `rocketmq-client-python`; it has no native library."""
    target = default_cache_dir() / LEGACY.replace("==", "-")
    if not target.is_dir():
        with complete_or_not(target) as folder:
            _install(folder)
    return target


def _install(folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--target", str(folder), LEGACY]
    try:
        run([sys.executable, "-m", "pip", "install", *options])
    except ServiceUnavailable:  # an environment that uv made has no pip
        run(["uv", "pip", "install", "--python", sys.executable, *options])


def outcome_of_a_send(driver: str, *first: Path) -> tuple[str, str, bool]:
    """Error type, message and whether it is retryable, with these folders first on the path."""
    done = subprocess.run(
        [sys.executable, "-c", SEND, driver],
        env={"PYTHONPATH": ":".join(map(str, [*first, ROOT]))},
        capture_output=True,
        text=True,
        check=True,
    )
    kind, message, retryable = json.loads(done.stdout)
    return kind, message, retryable


def test_the_older_package_without_its_library_says_so(legacy_package: Path) -> None:
    kind, message, retryable = outcome_of_a_send("rocketmq4", legacy_package)
    assert (kind, retryable) == ("InvalidConfig", False)
    assert "rocketmq-client-python is installed but cannot work" in message
    assert "rocketmq dynamic library not found" in message
    assert "native library librocketmq of rocketmq-client-cpp" in message


def test_the_older_package_in_the_place_of_the_official_one_is_named(legacy_package: Path) -> None:
    kind, message, retryable = outcome_of_a_send("rocketmq5", legacy_package)
    assert (kind, retryable) == ("InvalidConfig", False)
    assert "pip install it" in message


def test_the_older_package_over_the_official_one_is_named(
    legacy_package: Path, tmp_path: Path
) -> None:
    """Both installed into one folder, the older one last: its `__init__.py` is what is there."""
    import rocketmq  # noqa: PLC0415

    official = Path(str(rocketmq.__file__)).parent
    (tmp_path / "rocketmq").mkdir()
    for part in (*official.iterdir(), *(legacy_package / "rocketmq").iterdir()):
        if not part.name.startswith("__"):
            (tmp_path / "rocketmq" / part.name).symlink_to(part)
    (tmp_path / "rocketmq/__init__.py").touch()
    kind, message, _ = outcome_of_a_send("rocketmq5", tmp_path)
    assert kind == "InvalidConfig"
    assert "pip uninstall rocketmq-client-python" in message
    kind, message, _ = outcome_of_a_send("rocketmq4", tmp_path)
    assert "native library librocketmq" in message


def test_without_the_older_package_its_name_is_told() -> None:
    kind, message, retryable = outcome_of_a_send("rocketmq4")
    assert (kind, retryable) == ("InvalidConfig", False)
    assert "dist-task-pipelines[rocketmq4]" in message
