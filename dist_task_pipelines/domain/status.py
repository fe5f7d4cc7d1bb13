"""The states things can be in, as they stand in the ledger, the API and the UI."""

from enum import StrEnum


class TaskStatus(StrEnum):
    """The status of one task of one transaction."""

    PENDING = "pending"  # not called yet
    RUNNING = "running"  # a call is under way
    SUCCESS = "success"
    FAILED = "failed"  # called (or refused before the call) and failed
    UNKNOWN = "unknown"  # it may have taken effect, and a repeat might do it twice
    SKIPPED = "skipped"  # a person decided to go on without it

    @property
    def lets_downstream_run(self) -> bool:
        """Whether tasks that depend on this one may be called."""
        return self in (TaskStatus.SUCCESS, TaskStatus.SKIPPED)

    @property
    def ended_badly(self) -> bool:
        """Whether its last call failed, or may have."""
        return self in (TaskStatus.FAILED, TaskStatus.UNKNOWN)


class TransactionStatus(StrEnum):
    """The status of a transaction."""

    PENDING = "pending"  # accepted, no run has taken it yet
    RUNNING = "running"  # something can move without a person, a due retry included
    SUCCESS = "success"
    FAILED = "failed"  # only a person can move it
    CANCELLED = "cancelled"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens without a person."""
        return self not in UNSETTLED


UNSETTLED = (TransactionStatus.PENDING, TransactionStatus.RUNNING)


class Health(StrEnum):
    """The worst that applies to a transaction, mildest first."""

    HEALTHY = "healthy"
    RETRYING = "retrying"  # a failed task will be called again by itself
    NEEDS_HUMAN = "needs_human"  # a failed task waits for a person
    UNKNOWN = "unknown"  # a task may or may not have taken effect


class Applied(StrEnum):
    """Whether a call took effect at the participant."""

    NO = "no"
    YES = "yes"
    MAYBE = "maybe"


class RetryStrategy(StrEnum):
    """What happens after a task failed."""

    AUTO = "auto"  # the platform calls again, by the task's retry settings
    MANUAL = "manual"  # a person decides
    NO_RETRY = "no_retry"  # never called again; a person can only handle it


class Backoff(StrEnum):
    """How the wait grows from one automatic retry to the next."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


class GrantedBy(StrEnum):
    """Who allowed a task to be called again."""

    POLICY = "policy"  # its retry settings
    PERSON = "person"
    RECOVERY = "recovery"  # its worker died in the middle of an idempotent call


class LogAction(StrEnum):
    """What a row of the execution log records."""

    START = "start"  # the first call of a task begins
    RETRY = "retry"  # a later call of a task begins
    SUCCESS = "success"  # a call succeeded
    FAILED = "failed"  # a call failed
    UNKNOWN = "unknown"  # nobody knows whether a call took effect
    LOST = "lost"  # the worker of a call in flight went away
    GRANT = "grant"  # a task may be called again
    HANDLE = "handle"  # a person settled an exception
    SUBMIT = "submit"  # the transaction was accepted
    CANCEL = "cancel"  # the transaction was cancelled, or its cancellation asked for
    COMPLETE = "complete"  # the transaction settled


class OperatorActionKind(StrEnum):
    """What a person did, as the audit trail names it."""

    RETRY = "retry"
    HANDLE = "handle"
    CANCEL = "cancel"
    RE_EXECUTE = "re_execute"
    APPLY = "apply"  # a flow version was made
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    DELETE = "delete"
    STOP = "stop"
