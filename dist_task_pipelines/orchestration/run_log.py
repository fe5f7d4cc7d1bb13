"""What a run prints on its worker's console: warnings and errors; the events are in Dagster."""

import logging

from dagster import InitLoggerContext, LoggerDefinition


def _warnings(_: InitLoggerContext) -> logging.Logger:
    run_log = logging.getLogger("dist_task.run")
    run_log.setLevel(logging.WARNING)
    return run_log


quiet_logger = LoggerDefinition(_warnings, description="Warnings and errors only.")
