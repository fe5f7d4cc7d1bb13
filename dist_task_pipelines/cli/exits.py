"""Exit codes, and what a person is told about an error."""

from dist_task_pipelines.domain.errors import DistTaskError, InvalidInput, LedgerUnavailable

EXIT_FAILED, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 3

HOW_TO_START = (
    "Is it running? `dist-task up` starts the platform on this machine; --url or DIST_TASK_URL "
    "names a server elsewhere."
)


def exit_code(error: DistTaskError) -> int:
    """The exit code of a command that came to this error."""
    from dist_task_pipelines import client  # noqa: PLC0415 - only where something went wrong

    if isinstance(error, LedgerUnavailable | client.Unavailable):
        return EXIT_UNREACHABLE
    is_input = isinstance(error, InvalidInput | client.InvalidInput)
    return EXIT_USAGE if is_input else EXIT_FAILED


def words_for(error: DistTaskError) -> str:
    """The message, with what to do where the server does not answer."""
    from dist_task_pipelines import client  # noqa: PLC0415 - only where something went wrong

    nobody_listens = isinstance(error, client.Unreachable) and not error.may_have_arrived
    return f"{error}\n{HOW_TO_START}" if nobody_listens else str(error)
