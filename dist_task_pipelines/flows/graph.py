"""The dependencies between a flow's tasks: what is wrong with them, and who is upstream.

Works on the tasks as written, any of whose keys may be missing.
"""

from collections.abc import Iterator, Mapping, Sequence

from dist_task_pipelines.domain.errors import Fault
from dist_task_pipelines.domain.json import JsonObject
from dist_task_pipelines.flows.faults import join, listed

Edges = Mapping[str, Sequence[str]]  # a task's id: the ids it depends on, all known


def edges_of(tasks: Sequence[JsonObject]) -> Edges:
    """Who depends on whom, as far as the ids are known; of equal ids the first counts."""
    first: dict[str, JsonObject] = {}
    for task in tasks:
        if "id" in task:
            first.setdefault(task["id"], task)
    return {id: [name for name in _depends_on(first[id]) if name in first] for id in first}


def dependency_faults(tasks: Sequence[JsonObject]) -> Iterator[Fault]:
    """Unknown dependencies, repeated ones, and tasks that depend on themselves."""
    known = edges_of(tasks).keys()
    for index, task in enumerate(tasks):
        names = _depends_on(task)
        for position, name in enumerate(names):
            path = join("tasks", index, "depends_on", position)
            if name == task.get("id"):
                yield Fault(path, f"{name!r} cannot depend on itself")
            elif name not in known:
                yield Fault(path, f"there is no task {name!r}; the tasks are: {listed(known)}")
            elif name in names[:position]:
                yield Fault(path, f"{name!r} is named twice")


def cycle_faults(tasks: Sequence[JsonObject]) -> Iterator[Fault]:
    """A fault for each dependency that closes a cycle, naming the cycle."""
    ids = [task.get("id") for task in tasks]
    for cycle in _cycles(edges_of(tasks)):
        index = ids.index(cycle[-2])
        position = _depends_on(tasks[index]).index(cycle[-1])
        path = join("tasks", index, "depends_on", position)
        yield Fault(path, f"the dependencies form a cycle: {' -> '.join(cycle)}")


def upstream_of(names: Sequence[str], edges: Edges) -> set[str]:
    """The tasks named, and all that they depend on, however far."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name in edges and name not in found:
            found.add(name)
            waiting += edges[name]
    return found


def _cycles(edges: Edges) -> Iterator[list[str]]:
    finished: set[str] = set()

    def visit(task: str, trail: list[str]) -> Iterator[list[str]]:
        if task in trail:
            yield [*trail[trail.index(task) :], task]
        elif task not in finished:
            for name in edges[task]:
                if name != task:
                    yield from visit(name, [*trail, task])
            finished.add(task)

    for task in edges:
        yield from visit(task, [])


def _depends_on(task: JsonObject) -> Sequence[str]:
    return task.get("depends_on") or ()
