"""For the tests of programs that use the client: a platform in memory, no server needed.

    transport = InMemoryTransport()
    transport.add_flow("order_flow", "deduct", "notify")
    transport.fail("order_flow", "notify", "no broker")
    client = Client(transport=transport)

    with pytest.raises(TransactionFailed) as failed:
        client.submit("order_flow", "order_1").wait()
    assert failed.value.task_id == "notify"
    client.get("order_1").retry()       # the next call succeeds
    client.wait("order_1")

Answers as the server does: definitions and parameters are checked by the same code, ids stand
for one request, errors have the same kinds. Participants are not called: a task comes to what
the test says, and otherwise succeeds. No time passes: automatic retries come at once.
"""

from dist_task_pipelines.testing.transport import InMemoryTransport

__all__ = ["InMemoryTransport"]
