"""nginx as a fast HTTP participant: every POST is answered at once with a small JSON object."""

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.services import apt, free_port
from tests.services.process import found, named_or_first_that_starts, running

URL_VARIABLE = "DIST_TASK_TEST_NGINX_URL"

_CONF = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      default_type application/json;
      return 200 '{{"receipt_no":"r-1","accepted":true}}';
    }}
  }}
}}
"""


def nginx_server(cache_dir: Path) -> AbstractContextManager[str]:
    """Give the URL of an nginx that answers every request."""
    return named_or_first_that_starts(
        URL_VARIABLE,
        "nginx",
        _error,
        {"installed": _installed, "Debian archive": partial(_unpacked, cache_dir)},
    )


def _installed() -> AbstractContextManager[str]:
    return _served([str(found("nginx"))])


def _unpacked(cache_dir: Path) -> AbstractContextManager[str]:
    tree = apt.fetched([apt.Wanted("nginx")], cache_dir)
    return _served(apt.own_loader(tree, "usr/sbin/nginx"))


@contextmanager
def _served(program: Sequence[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dist_task_nginx_") as name:
        folder, port = Path(name), free_port()
        conf = folder / "nginx.conf"
        conf.write_text(_CONF.format(folder=folder, port=port))
        url = f"http://127.0.0.1:{port}"
        command = [*program, "-p", name, "-e", "stderr", "-c", str(conf)]
        with running(command, folder / "log", partial(_error, url)):
            yield url


def _error(url: str) -> str | None:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=10):
            return None
    except (OSError, urllib.error.URLError) as error:
        return str(error)
