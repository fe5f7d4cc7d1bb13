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


def is_ready(url: str) -> bool:
    """Whether the webserver at `url` has the code location, and the sensor daemon beats."""
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": QUERY}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
            return _is_loaded(json.load(reply)["data"])
    except (OSError, ValueError):
        return False


def _is_loaded(data: Any) -> bool:
    entries = data["workspaceOrError"].get("locationEntries") or []
    loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
    daemon = data["instance"]["daemonHealth"]["daemonStatus"]
    return loaded == ["RepositoryLocation"] and bool(daemon["healthy"])
