"""Sends requests to the platform by message: one for each line of a file, or of standard input.

    python -m examples.send_requests --endpoints 127.0.0.1:8081 --topic order_requests orders.jsonl

A line is `{"instance_id": ..., "flow_id": ..., "params": {...}}`, as for `dist-task submit --file`.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from dist_task_pipelines.executors import RocketMQ
from dist_task_pipelines.executors.base import Progress
from dist_task_pipelines.executors.mq_driver import MqMessage
from dist_task_pipelines.executors.rocketmq_client import RocketMQProducer

GRACE = 5  # seconds


def send(endpoints: str, topic: str, lines: Iterable[str]) -> int:
    """Send a message for each line that is not empty; gives their number."""
    bodies = [line.strip().encode() for line in lines if line.strip()]
    producer = RocketMQProducer(RocketMQ(endpoints))
    try:
        for body in bodies:
            producer.send(MqMessage(topic, body, keys=()), Progress())
    finally:
        producer.close(GRACE)
    return len(bodies)


def main() -> None:
    """Send, and say how many were sent."""
    parser = argparse.ArgumentParser(description="Send requests to the platform by message.")
    parser.add_argument("--endpoints", required=True, help="host:port of the RocketMQ 5 proxy")
    parser.add_argument("--topic", required=True, help="[rocketmq] request_topic of the platform")
    parser.add_argument("file", nargs="?", type=Path, help="by default standard input")
    arguments = parser.parse_args()
    text = arguments.file.read_text() if arguments.file else sys.stdin.read()
    print(f"{send(arguments.endpoints, arguments.topic, text.splitlines())} messages sent")


if __name__ == "__main__":
    main()
