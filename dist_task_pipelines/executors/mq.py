"""`mq` tasks: one message to a RocketMQ topic."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from dist_task_pipelines.domain.json import dumps
from dist_task_pipelines.domain.outcome import Outcome
from dist_task_pipelines.executors.base import (
    Executor,
    ExecutorConfig,
    Participants,
    Request,
    RocketMQ,
    invalid_config,
)
from dist_task_pipelines.executors.mq_driver import MqDriver, MqMessage
from dist_task_pipelines.executors.rocketmq4_client import RocketMQ4Producer
from dist_task_pipelines.executors.rocketmq_client import RocketMQProducer
from dist_task_pipelines.executors.threads import Threads

_SENDS = 32  # at a time
_GRACE = 5.0  # seconds that sends under way may go on when the executor closes
_TOPIC = re.compile(r"[%A-Za-z0-9_-]{1,127}")

DRIVERS: Mapping[str, Callable[[RocketMQ], MqDriver]] = {
    "rocketmq5": RocketMQProducer,
    "rocketmq4": RocketMQ4Producer,
}

_Key = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]+$")]


class MqConfig(ExecutorConfig):
    """The config of an `mq` task."""

    topic: str = Field(
        min_length=1,
        description="The topic, which must exist: letters, digits, '%', '_' and '-'.",
    )
    tag: str | None = Field(
        default=None,
        pattern=r"^[^\s|\x00-\x1f\x7f]+$",
        description="A tag that consumers can filter by; no white space and no '|'.",
    )
    keys: list[_Key] = Field(
        default=[],
        description="Message keys beside the idempotency key, which is always one; no white space.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        description="The message group of a FIFO topic: its messages are delivered in order.",
    )
    delay: int | None = Field(
        default=None,
        gt=0,
        description="Seconds after which a DELAY topic delivers the message, counted from each "
        "attempt. Not together with `group`.",
    )

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.group is not None and self.delay is not None:
            raise ValueError("`group` and `delay` exclude each other")
        return self


class MqExecutor(Executor[MqConfig]):
    """Sends to the configured brokers; a message's body is the task's input as JSON."""

    task_type = "mq"
    config_model = MqConfig

    def __init__(self, brokers: RocketMQ | None) -> None:
        self._driver = DRIVERS[brokers.driver](brokers) if brokers else None
        self._threads = Threads("rocketmq-send", _SENDS)

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the participants' brokers."""
        return cls(participants.rocketmq)

    async def call(self, request: Request[MqConfig]) -> Outcome:
        """Send the message once; the output holds its id and its offset in its queue."""
        request.progress.prepare()
        if self._driver is None:
            return invalid_config("no brokers are configured; set `endpoints` in [rocketmq]")
        if not _TOPIC.fullmatch(request.config.topic):
            return invalid_config(
                f"{request.config.topic!r} cannot be a topic: RocketMQ allows letters, digits, "
                "'%', '_' and '-', 127 at most"
            )
        return await self._threads.run(_sent, self._driver, request)

    async def close(self) -> None:
        """Sign off at the brokers; sends under way have a few seconds to end."""
        await self._threads.close(_GRACE)
        if self._driver:
            await asyncio.to_thread(self._driver.close, _GRACE)


def mq_message(request: Request[MqConfig]) -> MqMessage:
    """The message that a request makes."""
    config = request.config
    return MqMessage(
        topic=config.topic,
        body=dumps(request.input).encode(),
        keys=(request.idempotency_key, *config.keys),
        tag=config.tag,
        group=config.group,
        delay=config.delay,
    )


def _sent(driver: MqDriver, request: Request[MqConfig]) -> Outcome:
    try:
        receipt = driver.send(mq_message(request), request.progress)
    except Exception as error:
        return driver.failure_of(error, request.progress)
    output = {"message_id": receipt.message_id, "offset": receipt.offset}
    return Outcome.success(output, topic=request.config.topic)
