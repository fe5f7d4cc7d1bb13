"""Whether the platform serves: the UI answers, flows are loaded, sensors and workers run."""

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


def is_ready(url: str, *, whole: bool = True) -> bool:
    """Whether the server at `url` has the flows, the sensor daemon beats, and a worker is there.

    Args:
        whole: whether to look at the daemon and the workers, too.
    """
    question = json.dumps({"query": QUERY}).encode()
    try:
        found = _fetched(f"{url}/graphql", question)
        if not _is_loaded(found):
            return False
        return not whole or (_beats(found) and _has_workers(_fetched(f"{url}/health")))
    except (OSError, ValueError):
        return False


def _fetched(url: str, content: bytes | None = None) -> Any:
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
        return json.load(reply)["data"]


def _is_loaded(data: Any) -> bool:
    entries = data["workspaceOrError"].get("locationEntries") or []
    loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
    return loaded == ["RepositoryLocation"]


def _beats(data: Any) -> bool:
    return bool(data["instance"]["daemonHealth"]["daemonStatus"]["healthy"])


def _has_workers(health: Any) -> bool:
    return bool(health["workers"]["alive"])
