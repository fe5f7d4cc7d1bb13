"""Where the commands look for the server."""

from pathlib import Path

import pytest

from dist_task_pipelines.cli.address import server_url
from dist_task_pipelines.domain.errors import InvalidConfiguration


def configured(folder: Path, text: str) -> Path:
    file = folder / "dist_task.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:3000"),
        ("[app]\nport = 4000", "http://127.0.0.1:4000"),
        ("[app]\nhost = 'shop.example'", "http://shop.example:3000"),
        ("[app]\nhost = '0.0.0.0'", "http://127.0.0.1:3000"),
        ("[app]\nhost = '::1'", "http://[::1]:3000"),
        ("[app]\nhost = '::'\nport = 1", "http://[::1]:1"),
        ("[app]\nhost = '${SHOP_HOST}'", "http://10.0.0.7:3000"),
    ],
)
def test_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, url: str
) -> None:
    monkeypatch.setenv("SHOP_HOST", "10.0.0.7")
    file = configured(tmp_path, text)
    assert server_url(None, tmp_path) == url
    assert server_url(file, tmp_path / "elsewhere") == url


def test_without_a_configuration_it_is_the_default(tmp_path: Path) -> None:
    assert server_url(None, tmp_path) == "http://127.0.0.1:3000"


def test_the_environment_has_its_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(tmp_path, "[app]\nport = 4000")
    monkeypatch.setenv("DIST_TASK__APP__PORT", "5000")
    assert server_url(None, tmp_path) == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    "text",
    [
        "[app\n",
        "[app]\nport = '4000'",
        "[app]\nport = true",
        "[app]\nport = 0",
        "[app]\nhost = 1",
        "[app]\nhost = '${NO_SUCH_NAME}'",
        "app = 1",
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    file = configured(tmp_path, text)
    with pytest.raises(InvalidConfiguration, match=str(file)):
        server_url(None, tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"nowhere\.toml"):
        server_url(tmp_path / "nowhere.toml", tmp_path)
