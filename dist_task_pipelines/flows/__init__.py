"""Flow definitions: validating them, checking parameters, making what a task is called with.

From a definition to a call: `resolve_definition` when a flow is created, `flow_from` when it
is read back, `check_params` when a transaction is submitted, `task_input` and `task_config`
when a task starts, `fill_secrets` when it is called and `redact` after that.

Knows nothing of the ledger, of executors (but for the models of their configs, which are
passed in) or of Dagster.
"""

from dist_task_pipelines.flows.catalog import Catalog
from dist_task_pipelines.flows.checks import ConfigModels
from dist_task_pipelines.flows.inputs import outputs_read, task_config, task_input
from dist_task_pipelines.flows.outputs import Outputs
from dist_task_pipelines.flows.parameters import check_params, convert
from dist_task_pipelines.flows.resolution import resolve_definition
from dist_task_pipelines.flows.secrets import fill_secrets, redact
from dist_task_pipelines.flows.stored import flow_from

__all__ = [
    "Catalog",
    "ConfigModels",
    "Outputs",
    "check_params",
    "convert",
    "fill_secrets",
    "flow_from",
    "outputs_read",
    "redact",
    "resolve_definition",
    "task_config",
    "task_input",
]
