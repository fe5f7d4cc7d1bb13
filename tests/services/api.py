"""The API alone, in this process: over the ledger of a home, on a free port, without Dagster."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from dist_task_pipelines.api.app import create_app
from dist_task_pipelines.api.platform import Platform
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.settings import Settings


@contextmanager
def running_api(ledger: Ledger, settings: Settings) -> Iterator[str]:
    """Serve the API; gives its URL."""
    platform = Platform(ledger, settings)
    try:
        with served(create_app(platform)) as url:
            yield url
    finally:
        platform.close()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve the application; gives its URL."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="warning", access_log=False)
    server = uvicorn.Server(config)
    with config.bind_socket() as listening:
        listening.listen()  # who connects before the thread is there waits for it
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
