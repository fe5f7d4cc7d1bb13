"""Real servers for the test suite, started by the tests themselves."""


class ServiceUnavailable(RuntimeError):
    """A server that a test needs cannot be had on this machine; the message says why."""
