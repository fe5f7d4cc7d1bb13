"""The types of executors, built-in and installed, and the connected registry."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

import dist_task_pipelines.executors as public
from dist_task_pipelines.domain.errors import InvalidConfiguration, InvalidInput
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors import (
    ENTRY_POINT_GROUP,
    Executor,
    ExecutorConfig,
    Participants,
    Registry,
    Request,
)

GOOD = """
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors import Executor, ExecutorConfig

class MailConfig(ExecutorConfig):
    to: str

class MailExecutor(Executor[MailConfig]):
    task_type = "mail"
    config_model = MailConfig

    @classmethod
    def connect(cls, participants):
        return cls()

    async def call(self, request):
        return Outcome.success({"to": request.config.to})

class Abstract(Executor[MailConfig]):
    task_type = "abstract"
    config_model = dict
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with these entry points into the module `mailing` on the path."""

    def installed(points: dict[str, str], package: str = "mailing") -> None:
        (tmp_path / "mailing.py").write_text(GOOD)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{lines}")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "mailing", raising=False)

    return installed


def test_the_built_in_types() -> None:
    models = Registry.load().config_models()
    assert sorted(models) == ["db", "http", "mq", "rpc"]
    assert all(issubclass(model, ExecutorConfig) for model in models.values())


def test_every_option_of_every_type_is_described() -> None:
    for model in Registry.load().config_models().values():
        assert all(field.description for field in model.model_fields.values()), model


def test_a_third_party_adds_a_type(install: Install) -> None:
    install({"mail": "mailing:MailExecutor"})
    registry = Registry.load().connect(Participants())
    assert "mail" in registry.config_models()
    executor = registry.get("mail")
    work = executor.execute({"to": "me"}, {}, idempotency_key="t:x", timeout=5)
    assert asyncio.run(work).output == {"to": "me"}


def test_broken_and_clashing_entry_points_are_all_named(install: Install) -> None:
    install(
        {
            "http": "mailing:MailExecutor",
            "gone": "no_such_module:X",
            "less": "mailing:Nothing",
            "config": "mailing:MailConfig",
            "renamed": "mailing:MailExecutor",
            "abstract": "mailing:Abstract",
        }
    )
    with pytest.raises(InvalidConfiguration) as caught:
        Registry.load()
    faults: dict[str, list[str]] = {fault.path: [] for fault in caught.value.faults}
    for fault in caught.value.faults:
        faults[fault.path].append(fault.message)
    prefix = "entry point {} = {} of mailing"
    assert faults == {
        prefix.format("http", "mailing:MailExecutor"): ["the platform has the type 'http' already"],
        prefix.format("gone", "no_such_module:X"): [
            "cannot be loaded: ModuleNotFoundError(\"No module named 'no_such_module'\")"
        ],
        prefix.format("less", "mailing:Nothing"): [
            "cannot be loaded: AttributeError(\"module 'mailing' has no attribute 'Nothing'\")"
        ],
        prefix.format("config", "mailing:MailConfig"): [
            "is <class 'mailing.MailConfig'>, not a subclass of Executor"
        ],
        prefix.format("renamed", "mailing:MailExecutor"): [
            "MailExecutor.task_type must be 'renamed', the name of the entry point"
        ],
        prefix.format("abstract", "mailing:Abstract"): [
            "Abstract does not define call, connect",
            "Abstract.config_model must be a subclass of ExecutorConfig",
        ],
    }


def test_two_packages_cannot_have_one_type(install: Install) -> None:
    install({"mail": "mailing:MailExecutor"}, "post")
    install({"mail": "mailing:MailExecutor"}, "courier")
    with pytest.raises(InvalidConfiguration) as caught:
        Registry.load()
    (fault,) = caught.value.faults
    assert {"post", "courier"} <= set(str(fault).replace(":", " ").split())


class Recorded(Executor[ExecutorConfig]):
    """Writes down what becomes of it."""

    task_type = "recorded"
    config_model = ExecutorConfig
    events: list[str]

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        cls.events.append(f"connected to {participants.ledger_uuid}")
        return cls()

    async def call(self, request: Request[ExecutorConfig]) -> Outcome:
        raise NotImplementedError

    async def close(self) -> None:
        self.events.append("closed")


class Stubborn(Recorded):
    """Cannot be closed."""

    async def close(self) -> None:
        raise OSError("stuck")


class Unconnectable(Recorded):
    """Cannot be connected."""

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        raise RuntimeError("no licence")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    events: list[str] = []
    monkeypatch.setattr(Recorded, "events", events, raising=False)
    return events


def test_an_executor_is_connected_at_its_first_use_and_closed_once(events: list[str]) -> None:
    registry = Registry({"recorded": Recorded}).connect(Participants(ledger_uuid="L"))
    assert events == []
    assert registry.get("recorded") is registry.get("recorded")
    assert events == ["connected to L"]
    asyncio.run(registry.close())
    asyncio.run(registry.close())
    assert events == ["connected to L", "closed"]


def test_one_that_cannot_be_closed_does_not_keep_the_others_open(events: list[str]) -> None:
    registry = Registry({"stubborn": Stubborn, "recorded": Recorded})
    registry.get("stubborn")
    registry.get("recorded")
    with pytest.raises(ExceptionGroup, match="could not be closed") as caught:
        asyncio.run(registry.close())
    assert [str(error) for error in caught.value.exceptions] == ["stuck"]
    assert events[-1] == "closed"


def test_an_executor_that_is_not_there_or_cannot_be_connected() -> None:
    registry = Registry({"dear": Unconnectable})
    with pytest.raises(InvalidInput, match="nothing executes 'mail'; there are: dear"):
        registry.get("mail")
    with pytest.raises(InvalidInput, match="'dear' cannot be connected: RuntimeError"):
        registry.get("dear")


def test_the_public_names() -> None:
    assert sorted(public.__all__) == [
        "Applied",
        "ENTRY_POINT_GROUP",
        "Executor",
        "ExecutorConfig",
        "GivenUp",
        "Outcome",
        "Participants",
        "Progress",
        "Proxy",
        "Registry",
        "Request",
        "RocketMQ",
        "Service",
        "Tls",
    ]
