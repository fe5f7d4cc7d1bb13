"""Whether the platform serves: the UI answers, the flows are loaded, the sensors run."""

import json
import urllib.request
from typing import Any

QUERY = """
{
  workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } }
  instance { daemonHealth { daemonStatus(daemonType: "SENSOR") { healthy } } }
}
"""
TIMEOUT = 5  # seconds


def is_ready(url: str, *, daemon: bool = True) -> bool:
    """Whether the server at `url` has the code location, and the sensor daemon beats.

    Args:
        daemon: whether to look at the daemon.
    """
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": QUERY}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            found = json.load(reply)["data"]
    except (OSError, ValueError):
        return False
    return _is_loaded(found) and (not daemon or _beats(found))


def _is_loaded(data: Any) -> bool:
    entries = data["workspaceOrError"].get("locationEntries") or []
    loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
    return loaded == ["RepositoryLocation"]


def _beats(data: Any) -> bool:
    return bool(data["instance"]["daemonHealth"]["daemonStatus"]["healthy"])
