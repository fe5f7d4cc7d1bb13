"""What an identifier may look like."""

import re
import unicodedata

from dist_task_pipelines.domain.errors import Fault, InvalidInput

TRANSACTION_ID_LENGTH = 128
FLOW_NAME_LENGTH = 100

_FLOW_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VERSION_SUFFIX = re.compile(r"_v[0-9]+\Z")


def check_transaction_id(identifier: str) -> str:
    """The id itself, when it can serve as a transaction id.

    Any text of 1 to 128 characters: quotes, slashes and emoji included. White space at
    either end, control characters and lone surrogates are refused, since databases, URLs
    and headers do not keep them.

    Raises:
        InvalidInput: it cannot, and why.
    """
    fault = _transaction_id_fault(identifier)
    if fault:
        raise InvalidInput([Fault("instance_id", fault)])
    return identifier


def _transaction_id_fault(identifier: str) -> str | None:
    if not identifier:
        return "must not be empty"
    if len(identifier) > TRANSACTION_ID_LENGTH:
        return f"is {len(identifier)} characters long, the most is {TRANSACTION_ID_LENGTH}"
    if identifier != identifier.strip():
        return "must not begin or end with white space"
    if not identifier.isprintable() and any(map(_is_control_or_surrogate, identifier)):
        return "must not hold control characters or lone surrogates"
    return None


def _is_control_or_surrogate(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def flow_name_fault(name: str) -> str | None:
    """Why the name cannot be a flow's, or None when it can."""
    if not _FLOW_NAME.fullmatch(name):
        return "must begin with a letter and hold only letters, digits, '_' and '-'"
    if len(name) > FLOW_NAME_LENGTH:
        return f"is {len(name)} characters long, the most is {FLOW_NAME_LENGTH}"
    if _VERSION_SUFFIX.search(name.replace("-", "_")):
        return "must not end in '_v' and digits: that is how versions are named"
    return None


def flow_id(name: str, version: int) -> str:
    """`<name>_v<version>` with '-' as '_': the id of the row, the API and the Dagster job."""
    return f"{name.replace('-', '_')}_v{version}"
