"""The tags that the platform's runs carry, and who acts in the Dagster UI."""

from dist_task_pipelines.ledger.records import DispatchedBatch

FLOW_TAG = "dist_task/flow"
FLOW_VERSION_TAG = "dist_task/flow_version"
BATCH_ID_TAG = "dist_task/batch_id"
BATCH_SIZE_TAG = "dist_task/batch_size"
TRANSACTION_ID_TAG = "dist_task/transaction_id"  # of a batch of one

PERSON = "dagster"  # the actor of what is done in the Dagster UI


def batch_tags(batch: DispatchedBatch) -> dict[str, str]:
    """The tags of the run that carries the batch, beside those of its job."""
    tags = {BATCH_ID_TAG: str(batch.id), BATCH_SIZE_TAG: str(batch.size)}
    if batch.transaction_id is not None:
        tags[TRANSACTION_ID_TAG] = batch.transaction_id
    return tags
