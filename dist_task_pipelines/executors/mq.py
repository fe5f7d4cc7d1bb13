"""`mq` tasks: one message to a RocketMQ topic."""

import asyncio
import re
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
from dist_task_pipelines.executors.rocketmq_client import MqMessage, RocketMQProducer
from dist_task_pipelines.executors.rocketmq_errors import failure_of
from dist_task_pipelines.executors.threads import Threads

_SENDS = 32  # at a time
_GRACE = 5.0  # seconds that sends under way may go on when the executor closes
_TOPIC = re.compile(r"[%A-Za-z0-9_-]{1,127}")

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
        self._producer = RocketMQProducer(brokers) if brokers else None
        self._threads = Threads("rocketmq-send", _SENDS)

    @classmethod
    def connect(cls, participants: Participants) -> Self:
        """An executor for the participants' brokers."""
        return cls(participants.rocketmq)

    async def call(self, request: Request[MqConfig]) -> Outcome:
        """Send the message once; the output holds its id."""
        request.progress.prepare()
        if self._producer is None:
            return invalid_config("no brokers are configured; set `endpoints` in [rocketmq]")
        if not _TOPIC.fullmatch(request.config.topic):
            return invalid_config(
                f"{request.config.topic!r} cannot be a topic: RocketMQ allows letters, digits, "
                "'%', '_' and '-', 127 at most"
            )
        return await self._threads.run(_sent, self._producer, request)

    async def close(self) -> None:
        """Sign off at the brokers; sends under way have a few seconds to end."""
        await self._threads.close(_GRACE)
        if self._producer:
            await asyncio.to_thread(self._producer.close, _GRACE)


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


def _sent(producer: RocketMQProducer, request: Request[MqConfig]) -> Outcome:
    try:
        receipt = producer.send(mq_message(request), request.progress)
    except Exception as error:
        return failure_of(error, request.progress)
    output = {"message_id": receipt.message_id}
    return Outcome.success(output, topic=request.config.topic, offset=receipt.offset)
