"""Servers in containers, over a double of the `docker` command: there is no daemon in most CI."""

from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from tests.services import ServiceUnavailable, compose
from tests.services.catalog import SERVERS

DOCKER = """\
#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *" up "*) exit {up} ;;
  *" port "*" 10911") echo 127.0.0.1:50002 ;;
  *" port "*) echo 127.0.0.1:50001 ;;
esac
"""


def docker(folder: Path, monkeypatch: pytest.MonkeyPatch, up: int = 0) -> Path:
    """Put the double on the path; gives the file of what it is called with."""
    program, log = folder / "docker", folder / "log"
    program.write_text(DOCKER.format(log=log, up=up))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_a_service_is_a_project_of_its_own_and_gone_after_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = docker(tmp_path, monkeypatch)
    with compose.published("rocketmq", 8081, 10911) as places:
        assert places == ["127.0.0.1:50001", "127.0.0.1:50002"]
        calls = log.read_text().splitlines()
    assert calls[0].startswith("info")
    project = calls[1].split()[2]
    assert calls[1] == (
        f"compose --project-name {project} --file {compose.FILE} up --detach --wait rocketmq"
    )
    removed = log.read_text().splitlines()[-1]
    assert removed.endswith("down --volumes --timeout 5")
    assert f"--project-name {project} " in removed
    with compose.server("redis", 6379, "redis://127.0.0.1:{}/0".format) as url:
        assert url == "redis://127.0.0.1:50001/0"
    assert f"--project-name {project} up" not in log.read_text().splitlines()[-3]


def test_a_service_that_does_not_come_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = docker(tmp_path, monkeypatch, up=1)
    with pytest.raises(ServiceUnavailable, match="up --detach"), compose.server("redis", 1, str):
        pass
    assert log.read_text().splitlines()[-1].endswith("down --volumes --timeout 5")


def test_every_server_has_a_service_on_loopback_with_a_health_check() -> None:
    services = yaml.safe_load(compose.FILE.read_text())["services"]
    assert set(SERVERS) - {"nginx"} <= set(services)  # nginx is a participant for benchmarks
    for service in services.values():
        assert "healthcheck" in service
        assert all(port.startswith("127.0.0.1::") for port in service.get("ports", ()))
