"""How runs get to the workers: a Celery app of one task, whose message is a run's id.

There is no result backend: what came of a run is in Dagster, and in the ledger. A message is
acknowledged when its run has ended, so a broker that sees its worker go away hands it on; whoever
gets it finds that the run has begun, and leaves it.
"""

from typing import Any

from celery import Celery

from dist_task_pipelines.settings import Settings

RUN_TASK = "dist_task.run"
QUEUE = "dist_task_runs"
FILE_TRANSPORT = "dist_task_pipelines.orchestration.file_broker:Transport"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0  # for an answer of Redis; its longest blocking read takes one second
REDIS = {
    "visibility_timeout": 24 * 3600,  # seconds after which what nobody acknowledged is handed on
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "socket_keepalive": True,
}


def celery_app(settings: Settings) -> Celery:
    """The app that senders and workers share; the folder of the default broker is made."""
    app = Celery("dist_task", set_as_current=False)
    app.conf.update(
        **_broker(settings),
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=CONNECT_SECONDS,
        task_publish_retry_policy={"max_retries": 2, "interval_start": 0.1, "interval_max": 0.5},
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


def send_run(app: Celery, run_id: str) -> None:
    """Hand a run to whichever worker is free.

    Raises:
        kombu.exceptions.OperationalError: the broker cannot be reached.
    """
    app.send_task(RUN_TASK, (run_id,), retry=True)


def _broker(settings: Settings) -> dict[str, Any]:
    url = settings.workers.broker
    if url:
        redis = REDIS if url.startswith("redis") else {}
        return {"broker_url": url, "broker_transport_options": redis}
    folder = settings.home / "broker"
    options = {}
    for name, purpose in (("messages", "data_folder_in"), ("bells", "bell_folder")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        options[purpose] = str(folder / name)
    return {
        "broker_url": "filesystem://localhost",
        "broker_transport": FILE_TRANSPORT,
        "broker_transport_options": options,
    }
