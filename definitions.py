"""The Dagster code location: wiring only.

The flows in the ledger become jobs; sensors launch them; the job `intervene` is for people.
"""

import dagster as dg

from dist_task_pipelines.assembly import dispatch_limits, limits_of_checks
from dist_task_pipelines.orchestration.dispatch_sensors import dispatch_tick_seconds
from dist_task_pipelines.orchestration.flow_job import flow_jobs
from dist_task_pipelines.orchestration.intervene_job import intervene_job
from dist_task_pipelines.orchestration.ledger_assets import (
    flow_names,
    ledger_assets,
    ledger_checks,
)
from dist_task_pipelines.orchestration.run_batch import batch_resource
from dist_task_pipelines.orchestration.step_executor import concurrent_step_executor
from dist_task_pipelines.settings import Settings
from resources.ledger import ledger_resource
from resources.participants import participants_resource
from resources.rocketmq import requests_resources
from sensors.due_retries import due_retries_sensor
from sensors.expired_leases import expired_leases_sensor
from sensors.ledger_state import ledger_state_sensor
from sensors.mq_requests import mq_requests_sensor
from sensors.new_requests import new_requests_sensor


@dg.definitions
def defs() -> dg.Definitions:
    """Read the settings and the flows in use; nothing happens at import."""
    settings = Settings.from_environment()
    limits = dispatch_limits(settings)
    jobs = flow_jobs(settings)
    requests = requests_resources(settings)
    names = flow_names(jobs)
    judged_by = limits_of_checks(settings)
    every = dispatch_tick_seconds()
    return dg.Definitions(
        assets=ledger_assets(names),
        asset_checks=[ledger_checks(names, judged_by)],
        executor=concurrent_step_executor,
        jobs=[*jobs, intervene_job],
        sensors=[
            new_requests_sensor(jobs, limits, every=every),
            due_retries_sensor(jobs, limits, every=every),
            expired_leases_sensor(every=every),
            ledger_state_sensor(names, judged_by),
            *([mq_requests_sensor(settings.limits.max_params_bytes)] if requests else []),
        ],
        resources={
            "ledger": ledger_resource(settings),
            "participants": participants_resource(settings),
            "batch": batch_resource(settings),
            **requests,
        },
    )
