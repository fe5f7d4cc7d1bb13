import dist_task_pipelines
from dist_task_pipelines import client, testing


def test_the_public_names() -> None:
    assert dist_task_pipelines.__all__ == ["Client"]
    assert dist_task_pipelines.Client is client.Client
    assert testing.__all__ == ["InMemoryTransport"]
    assert sorted(client.__all__) == [
        "Client",
        "ClientError",
        "Conflict",
        "DEFAULT_URL",
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
    assert all(hasattr(client, name) for name in client.__all__)
