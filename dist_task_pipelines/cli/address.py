"""Where the server is, when nobody says: at the configuration's `app.host` and `app.port`."""

import os
import tomllib
from pathlib import Path

HOST, PORT = "127.0.0.1", 3000
OVERRIDES = {"DIST_TASK__APP__HOST", "DIST_TASK__APP__PORT"}
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # who listens everywhere


def server_url(config: Path | None, home: Path) -> str:
    """The URL of the server with this configuration.

    Raises:
        InvalidConfiguration: the configuration cannot be read, or is wrong.
    """
    host, port = _plain(config, home) or _checked(config, home)
    host = _LOCAL.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _plain(config: Path | None, home: Path) -> tuple[str, int] | None:
    """Host and port where the file simply says them: the settings take half a second to load."""
    if OVERRIDES & os.environ.keys():
        return None
    file = (config or home / "dist_task.toml").expanduser()
    try:
        content = tomllib.loads(file.read_text("utf-8")) if config or file.exists() else {}
        section = content.get("app", {})
        host, port = section.get("host", HOST), section.get("port", PORT)
    except (OSError, ValueError, AttributeError):
        return None
    is_plain = type(host) is str and "${" not in host and type(port) is int and 0 < port < 65_536
    return (host, port) if is_plain else None


def _checked(config: Path | None, home: Path) -> tuple[str, int]:
    """Host and port as the settings have them, or every fault of the configuration."""
    from dist_task_pipelines.settings import Settings  # noqa: PLC0415 - see `_plain`

    app = Settings.load(config, home).app
    return app.host, app.port
