"""The jobs of the application, as a process that executes or creates runs holds them.

A flow's job is made from the ledger by the flow's id, whenever it is first asked for: a version
never changes. The other jobs come from `definitions.py`, which is read again when a job is asked
for that it did not have.
"""

import threading
from collections import OrderedDict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from dagster import DagsterInvariantViolationError, Definitions, JobDefinition

from dist_task_pipelines.application import application_root
from dist_task_pipelines.domain.errors import NotFound
from dist_task_pipelines.ledger import Ledger
from dist_task_pipelines.orchestration.flow_job import build_job

FLOWS_KEPT = 200  # jobs of flows kept; the one that was not asked for longest goes first


class Jobs:
    """The jobs by name, safe to ask from several threads."""

    def __init__(self, ledger: Ledger, definitions: Path | None = None) -> None:
        self._ledger = ledger
        self._file = definitions or application_root() / "definitions.py"
        self._lock = threading.RLock()
        self._flows: OrderedDict[str, JobDefinition] = OrderedDict()
        self._definitions: Definitions | None = None

    def get(self, name: str) -> JobDefinition:
        """The job of this name.

        Raises:
            NotFound: there is no such flow and no such job.
            LedgerUnavailable: the ledger cannot be read.
        """
        with self._lock:
            if name in self._flows:
                self._flows.move_to_end(name)
                return self._flows[name]
            try:
                return self._keep(self._flow_job(name))
            except NotFound:
                return self._other(name)

    def load(self) -> Definitions:
        """Read the definitions, if that has not been done: it takes a while."""
        with self._lock:
            self._definitions = self._definitions or load_definitions(self._file)
            return self._definitions

    def _flow_job(self, name: str) -> JobDefinition:
        """The job as the definitions make it, with their resources."""
        job = build_job(self._ledger.flows.load(name))
        alone = Definitions(jobs=[job], resources=self.load().resources)
        return alone.get_repository_def().get_job(name)

    def _keep(self, job: JobDefinition) -> JobDefinition:
        self._flows[job.name] = job
        while len(self._flows) > FLOWS_KEPT:
            self._flows.popitem(last=False)
        return job

    def _other(self, name: str) -> JobDefinition:
        if not self.load().get_repository_def().has_job(name):
            self._definitions = load_definitions(self._file)
        try:
            return self.load().get_repository_def().get_job(name)
        except DagsterInvariantViolationError:
            raise NotFound("job", name) from None


def load_definitions(file: Path) -> Definitions:
    """What the definitions in the python file say, read anew."""
    spec = spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    definitions: Definitions = module.defs()
    definitions.get_repository_def()  # resolved now, not in the first run
    return definitions
