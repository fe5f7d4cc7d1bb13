"""Starting again what ends by itself: at once, then after growing pauses, in the end no more.

A process may end because its database is away for a while, and then each new one does too.
"""

import structlog

from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.orchestration.processes import ManagedProcess

PAUSES = (0, 1, 2, 4, 8, 15, 30)  # seconds before a restart; the last one before all others
STEADY_AFTER = 60  # seconds after which a process does not keep ending
GIVE_UP_AFTER = 300  # seconds for which a process may keep ending

log = structlog.get_logger(__name__)


class Restarts:
    """Watches one process."""

    def __init__(self, process: ManagedProcess) -> None:
        self._process = process
        self._ends = 0  # one soon after the other
        self._began_to_end = 0.0
        self._due: float | None = None  # when it is to be started; None: nobody has seen it end

    def look(self, now: float) -> None:
        """Start the process if it has ended and its pause is over.

        Args:
            now: in monotonic seconds.

        Raises:
            DistTaskError: it keeps ending.
        """
        if not self._process.has_ended:
            return
        if self._due is None:
            self._due = now + self._pause(now)
        if now >= self._due:
            log.warning("a process ended and is started again", process=self._process.name)
            self._process.start()
            self._due = None

    def _pause(self, now: float) -> float:
        if self._process.ran_for > STEADY_AFTER:
            self._ends = 0
        if not self._ends:
            self._began_to_end = now
        if now - self._began_to_end > GIVE_UP_AFTER:
            raise DistTaskError(
                f"the {self._process.name} ended {self._ends + 1} times in "
                f"{now - self._began_to_end:.0f} s:\n{self._process.log_tail()}"
            )
        self._ends += 1
        return PAUSES[min(self._ends, len(PAUSES)) - 1]
