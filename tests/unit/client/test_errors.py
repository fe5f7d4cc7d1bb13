"""The errors of the client: one tree, as drawn."""

import inspect
import re

import pytest

from dist_task_pipelines.api.routes.common import MEANINGS
from dist_task_pipelines.client import errors
from dist_task_pipelines.client.calls import error_of
from dist_task_pipelines.client.errors import ClientError, UnexpectedAnswer
from dist_task_pipelines.domain.errors import DistTaskError
from dist_task_pipelines.schemas import STATUS_OF, FaultView

CLASSES = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if each.__module__ == errors.__name__
]


def drawn() -> dict[str, str]:
    """The parent of each class in the picture at the top of the module."""
    above: dict[int, str] = {-1: "DistTaskError"}
    parents = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([ │├└─]*)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            above[depth] = found[2]
            parents[found[2]] = above[depth - 1]
    return parents


def test_the_tree_is_as_drawn() -> None:
    assert {each.__name__: each.__base__.__name__ for each in CLASSES if each.__base__} == drawn()


def test_a_program_can_catch_them_all() -> None:
    assert issubclass(ClientError, DistTaskError)
    assert all(issubclass(each, ClientError) for each in CLASSES)


@pytest.mark.parametrize("kind", [each for each in CLASSES if "instance_id" not in dir(each)])
def test_the_docstring_is_the_message_where_there_is_no_better_one(kind: type[ClientError]) -> None:
    if not issubclass(kind, errors.NotSuccessful):
        assert str(kind()) == (kind.__doc__ or "").splitlines()[0]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.NotAllowed),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (408, errors.Unavailable),
        (415, errors.InvalidInput),
        (429, errors.Unavailable),
        (500, errors.UnexpectedAnswer),
        (503, errors.Unavailable),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ClientError]) -> None:
    error = error_of(status, "why")
    assert (type(error), str(error)) == (kind, "why")


def test_every_status_of_the_server_has_an_error() -> None:
    """But for 500: what the server itself did not expect, no client can either."""
    sent = {*STATUS_OF.values(), *MEANINGS} - {500}
    assert {
        status for status in sent if error_of(status, "").__class__ is UnexpectedAnswer
    } == set()


def test_a_400_that_names_faults_is_about_the_input() -> None:
    error = error_of(400, "why", [FaultView(path="params.a", message="is required")])
    assert isinstance(error, errors.InvalidInput)
    assert [str(fault) for fault in error.faults] == ["params.a: is required"]
