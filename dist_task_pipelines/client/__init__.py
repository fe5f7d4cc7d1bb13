"""The Python client of the platform, over its REST API.

Knows the API's shapes (`schemas`) and `domain`; imports neither Dagster nor the server, the
ledger or the executors, so that a program pays for nothing that it does not use.
"""

from dist_task_pipelines.client.client import DEFAULT_URL, Client
from dist_task_pipelines.client.errors import (
    ClientError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotSuccessful,
    TooLarge,
    TransactionCancelled,
    TransactionFailed,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WaitTimeout,
)
from dist_task_pipelines.client.exceptions import Exceptions
from dist_task_pipelines.client.flows import Flows
from dist_task_pipelines.client.retrying import Retries
from dist_task_pipelines.client.stats import Stats
from dist_task_pipelines.client.submitting import Submitted
from dist_task_pipelines.client.transactions import Transaction
from dist_task_pipelines.client.transport import HttpTransport, Request, Response, Transport

__all__ = [
    "DEFAULT_URL",
    "Client",
    "ClientError",
    "Conflict",
    "Exceptions",
    "Flows",
    "HttpTransport",
    "InvalidInput",
    "NotAllowed",
    "NotFound",
    "NotSuccessful",
    "Request",
    "Response",
    "Retries",
    "Stats",
    "Submitted",
    "TooLarge",
    "Transaction",
    "TransactionCancelled",
    "TransactionFailed",
    "Transport",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimeout",
]
