"""What the calls of tasks come to, as a test arranges it."""

from collections import deque
from dataclasses import dataclass

from dist_task_pipelines.domain.flow import Flow, Task
from dist_task_pipelines.domain.outcome import Outcome

SUCCESS = Outcome.success({})


@dataclass(slots=True)
class _Line:
    """An outcome for the calls of a task, as often as there are `times` left."""

    flow: str
    task_id: str
    instance_id: str | None  # None: of every transaction
    outcome: Outcome
    times: int | None  # None: every time


class Script:
    """Outcomes by flow, task and transaction; the oldest that fits is played first."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()

    def add(
        self, flow: str, task_id: str, instance_id: str | None, outcome: Outcome, times: int | None
    ) -> None:
        """Arrange for an outcome; `flow` is a flow id or a flow's name."""
        self._lines.append(_Line(flow, task_id, instance_id, outcome, times))

    def outcome(self, flow: Flow, task: Task, instance_id: str) -> Outcome:
        """What this call comes to."""
        for line in self._lines:
            if (
                line.flow in (flow.id, flow.name)
                and line.task_id == task.id
                and line.instance_id in (None, instance_id)
            ):
                return self._play(line)
        return SUCCESS

    def _play(self, line: _Line) -> Outcome:
        if line.times is not None:
            line.times -= 1
            if line.times <= 0:
                self._lines.remove(line)
        return line.outcome
