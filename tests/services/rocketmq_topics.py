"""Topics of a RocketMQ broker, made over its own remoting protocol.

The official tool does the same, and starts a JVM for each topic.
"""

import base64
import hashlib
import hmac
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

_UPDATE_AND_CREATE_TOPIC = 17
_VERSION = 473  # of the protocol: RocketMQ 5.3
_QUEUES = 2
_SECONDS = 20

_numbers: Iterator[int] = count(1)


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs in."""

    access_key: str
    secret_key: str


def create_topic(broker: str, name: str, kind: str, keys: Keys | None = None) -> None:
    """Make a topic, or let it be what it is.

    Args:
        broker: host:port of the broker's remoting protocol.
        kind: of its messages: NORMAL, FIFO or DELAY.

    Raises:
        OSError: the broker cannot be reached.
        ValueError: it refused.
    """
    fields = {
        "topic": name,
        "defaultTopic": "TBW102",
        "readQueueNums": str(_QUEUES),
        "writeQueueNums": str(_QUEUES),
        "perm": "6",
        "topicFilterType": "SINGLE_TAG",
        "topicSysFlag": "0",
        "order": "false",
        "attributes": f"+message.type={kind}",
    }
    host, _, port = broker.rpartition(":")
    with socket.create_connection((host, int(port)), _SECONDS) as connection:
        answer = _asked(connection, fields | (_signature(fields, keys) if keys else {}))
    if answer["code"]:
        raise ValueError(f"{broker} did not make the topic {name}: {answer.get('remark')}")


def _signature(fields: dict[str, str], keys: Keys) -> dict[str, str]:
    signed = {**fields, "AccessKey": keys.access_key}
    content = "".join(signed[name] for name in sorted(signed)).encode()
    mac = hmac.digest(keys.secret_key.encode(), content, hashlib.sha1)
    return {"AccessKey": keys.access_key, "Signature": base64.b64encode(mac).decode()}


def _asked(connection: socket.socket, fields: dict[str, str]) -> dict[str, Any]:
    command = {
        "code": _UPDATE_AND_CREATE_TOPIC,
        "language": "PYTHON",
        "version": _VERSION,
        "opaque": next(_numbers),
        "flag": 0,
        "serializeTypeCurrentRPC": "JSON",
        "extFields": fields,
    }
    header = json.dumps(command).encode()
    connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
    with connection.makefile("rb") as stream:
        length, header_length = struct.unpack(">II", stream.read(8))
        answer = stream.read(length - 4)
    return dict(json.loads(answer[: header_length & 0xFFFFFF]))
