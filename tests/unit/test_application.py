import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dist_task_pipelines.application import application_root, put_on_path
from dist_task_pipelines.domain.errors import InvalidConfiguration


def folder_with_definitions(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "definitions.py").touch()
    return folder


def test_in_a_checkout_it_is_the_root(tmp_path: Path) -> None:
    root = folder_with_definitions(tmp_path / "checkout")
    assert application_root(root / "dist_task_pipelines") == root


def test_in_an_installed_wheel_it_is_the_data_folder(tmp_path: Path) -> None:
    site_packages = folder_with_definitions(tmp_path / "site-packages")  # somebody else's
    package = site_packages / "dist_task_pipelines"
    data = folder_with_definitions(package / "app")
    assert application_root(package) == data


def test_an_incomplete_installation_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="install the package again") as caught:
        application_root(tmp_path / "dist_task_pipelines")
    assert str(tmp_path / "dist_task_pipelines") in str(caught.value)


def test_this_checkout_is_found() -> None:
    assert application_root() == Path(__file__).parents[2]


def test_it_comes_first_on_the_path_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(application_root())
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    put_on_path()
    put_on_path()
    assert sys.path == [root, "/elsewhere"]


def test_the_wheel_carries_the_application(tmp_path: Path) -> None:
    root = application_root()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    found = application_root(tmp_path / "dist_task_pipelines")
    assert found == tmp_path / "dist_task_pipelines" / "app"
    for folder in ("configs", "migrations", "resources", "sensors"):
        here = {file.relative_to(root) for file in (root / folder).rglob("*.*") if is_ours(file)}
        there = {file.relative_to(found) for file in (found / folder).rglob("*.*")}
        assert there == here


def is_ours(file: Path) -> bool:
    return "__pycache__" not in file.parts
