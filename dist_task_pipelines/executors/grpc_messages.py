"""JSON to protobuf messages and back, by protobuf's own JSON mapping, without loss.

The mapping's own parser is lenient: of two spellings of a field it takes the last, of bytes
what looks like base64, of a number what a float can hold. What would be lost that way is
refused here, before it parses.

Pure: knows descriptors, not where they come from.
"""

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from dist_task_pipelines.domain.errors import Fault, InvalidParams
from dist_task_pipelines.domain.json import JsonObject, JsonValue

_WELL_KNOWN = "google.protobuf."
_FREE_FORM = ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue")
_ANY = "google.protobuf.Any"


def message_of(value: JsonObject, kind: type[Message], pool: DescriptorPool) -> Message:
    """The message that the JSON object stands for; fields by their own or their JSON name.

    Raises:
        InvalidParams: it has no such form; names every field that is at fault.
    """
    faults = list(_message_faults(value, _descriptor(kind), "input", pool))
    if faults:
        raise InvalidParams(faults)
    try:
        message: Any = ParseDict(value, kind(), descriptor_pool=pool)
    except (ParseError, ValueError, TypeError, OverflowError) as error:
        raise InvalidParams([Fault("input", _in_one_line(error))]) from None
    if missing := message.FindInitializationErrors():  # only proto2 knows such fields
        raise InvalidParams([Fault(f"input.{path}", "is required") for path in missing])
    return message  # type: ignore[no-any-return]


def json_of(message: Message, pool: DescriptorPool) -> JsonObject:
    """The message as JSON: fields by their own names, those without presence always there.

    Raises:
        TypeError: it holds an `Any` of a type that the pool does not know.
    """
    return MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        descriptor_pool=pool,
    )


def least_json_length(message: Message) -> int:
    """Bytes that the message takes at least as JSON.

    Fields that take none on the wire are written there: a reply of a few bytes can make a JSON
    that nobody can hold.
    """
    inner = (part for field, value in message.ListFields() for part in _messages_in(field, value))
    return _least_own_length(message.DESCRIPTOR) + sum(map(least_json_length, inner))


@lru_cache(maxsize=1024)
def _least_own_length(descriptor: Descriptor) -> int:
    always_there = (field for field in descriptor.fields if not field.has_presence)
    return 2 + sum(len(field.name) + len('"":0') for field in always_there)


def unknown_fields(message: Message, path: str = "") -> list[str]:
    """The numbers of the fields that the descriptors do not know, as `card.7`."""
    unknown: Any = UnknownFieldSet(message)
    found = [f"{path}{field.field_number}" for field in unknown]
    for field, value in message.ListFields():
        for part in _messages_in(field, value):
            found += unknown_fields(part, f"{path}{field.name}.")
    return found


def _descriptor(kind: type[Message]) -> Descriptor:
    return kind.DESCRIPTOR  # type: ignore[return-value]  # of either implementation


def _messages_in(field: FieldDescriptor, value: Any) -> list[Message]:
    if field.message_type is None:
        return []
    if field.message_type.GetOptions().map_entry:
        is_message = field.message_type.fields_by_name["value"].message_type is not None
        return list(value.values()) if is_message else []
    return list(value) if field.is_repeated else [value]


def _message_faults(
    value: JsonValue, descriptor: Descriptor, path: str, pool: DescriptorPool
) -> Iterator[Fault]:
    """What would be lost of a message's JSON, or has no place in it."""
    if descriptor.full_name in _FREE_FORM:
        yield from _free_form_faults(value, path)
    elif descriptor.full_name == _ANY:
        yield from _any_faults(value, path, pool)
    elif _is_wrapper(descriptor):
        yield from _scalar_faults(value, descriptor.fields_by_name["value"], path)
    elif descriptor.full_name.startswith(_WELL_KNOWN) and isinstance(value, str):
        return  # a Timestamp, a Duration or a FieldMask, which the parser takes exactly
    elif not isinstance(value, dict):
        yield Fault(path, f"must be an object: a {descriptor.full_name}")
    else:
        yield from _object_faults(value, descriptor, path, pool)


def _object_faults(
    value: JsonObject, descriptor: Descriptor, path: str, pool: DescriptorPool
) -> Iterator[Fault]:
    fields = {field.json_name: field for field in descriptor.fields}
    fields |= descriptor.fields_by_name
    seen: dict[str, str] = {}
    for name, item in value.items():
        field = fields.get(name) or _extension(name, pool)
        if field is None:
            yield Fault(f"{path}.{name}", _no_field(descriptor))
        elif field.name in seen:
            yield Fault(f"{path}.{name}", f"is the same field as {seen[field.name]!r}")
        elif item is not None:
            seen[field.name] = name
            yield from _field_faults(item, field, f"{path}.{name}", pool)


def _extension(name: str, pool: DescriptorPool) -> FieldDescriptor | None:
    """The extension field `[package.name]` of a proto2 message."""
    with suppress(KeyError):
        return pool.FindExtensionByName(name[1:-1]) if name.startswith("[") else None
    return None


def _no_field(descriptor: Descriptor) -> str:
    known = ", ".join(field.name for field in descriptor.fields) or "none"
    return f"{descriptor.full_name} has no such field; its fields are: {known}"


def _field_faults(
    value: JsonValue, field: FieldDescriptor, path: str, pool: DescriptorPool
) -> Iterator[Fault]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        yield from _map_faults(value, entry, path, pool)
    elif not field.is_repeated:
        yield from _single_faults(value, field, path, pool)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _single_faults(item, field, f"{path}[{index}]", pool)
    else:
        yield Fault(path, "must be an array")


def _map_faults(
    value: JsonValue, entry: FieldDescriptor, path: str, pool: DescriptorPool
) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, "must be an object: it is a map")
        return
    for key, item in value.items():
        yield from _single_faults(item, entry, f"{path}.{key}", pool)


def _single_faults(
    value: JsonValue, field: FieldDescriptor, path: str, pool: DescriptorPool
) -> Iterator[Fault]:
    if field.message_type:
        yield from _message_faults(value, field.message_type, path, pool)
    elif value is not None:  # which the parser refuses where it has no place
        yield from _scalar_faults(value, field, path)


def _scalar_faults(value: JsonValue, field: FieldDescriptor, path: str) -> Iterator[Fault]:
    check = _CHECKS.get(field.type)
    if check and (fault := check(value)):
        yield Fault(path, fault)


def _bytes_fault(value: JsonValue) -> str | None:
    if isinstance(value, str) and value.isascii():
        plain = value.rstrip("=").replace("-", "+").replace("_", "/")
        padded = plain + "=" * (-len(plain) % 4)
        with suppress(binascii.Error):
            if base64.b64encode(base64.b64decode(padded, validate=True)) == padded.encode():
                return None
    return "must be bytes as base64 text"


def _double_fault(value: JsonValue) -> str | None:
    if isinstance(value, bool):
        return "must be a number"
    if isinstance(value, int) and not _fits(value):
        return f"{value} cannot be kept exactly in a double"
    return None


def _float_fault(value: JsonValue) -> str | None:
    if isinstance(value, bool):
        return "must be a number"
    if isinstance(value, int | float) and not (_fits(value) and _is_single(float(value))):
        return f"{value} cannot be kept exactly in a float"
    return None


def _enum_fault(value: JsonValue) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return "must be the name or the number of an enum's value"
    return None


_CHECKS: Mapping[int, Callable[[JsonValue], str | None]] = {
    FieldDescriptor.TYPE_BYTES: _bytes_fault,
    FieldDescriptor.TYPE_DOUBLE: _double_fault,
    FieldDescriptor.TYPE_ENUM: _enum_fault,
    FieldDescriptor.TYPE_FLOAT: _float_fault,
}


def _fits(value: int | float) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def _is_single(value: float) -> bool:
    """Whether the number comes back as it is from a 32-bit float, written the shortest way."""
    try:
        kept = _single(value)
    except OverflowError:
        return False
    return kept == value or value in (float(f"{kept:.{digits}g}") for digits in range(6, 10))


def _single(value: float) -> float:
    (kept,) = struct.unpack("f", struct.pack("f", value))
    return float(kept)


def _free_form_faults(value: JsonValue, path: str) -> Iterator[Fault]:
    """Numbers that `google.protobuf.Value`, which keeps doubles only, would change."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _free_form_faults(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _free_form_faults(item, f"{path}[{index}]")
    elif isinstance(value, int | float) and not (math.isfinite(value) and _fits(value)):
        yield Fault(path, f"{value} cannot be kept exactly in a double")


def _any_faults(value: JsonValue, path: str, pool: DescriptorPool) -> Iterator[Fault]:
    if not isinstance(value, dict) or not isinstance(value.get("@type"), str):
        yield Fault(path, 'must be an object with the "@type" of the message it holds')
        return
    name = value["@type"].rpartition("/")[2]
    try:
        descriptor = pool.FindMessageTypeByName(name)
    except KeyError:
        yield Fault(f"{path}.@type", f"there is no message type {name!r}")
        return
    inner = {key: item for key, item in value.items() if key != "@type"}
    is_well_known = name.startswith(_WELL_KNOWN)
    yield from _message_faults(
        inner.get("value") if is_well_known else inner, descriptor, path, pool
    )


def _is_wrapper(descriptor: Descriptor) -> bool:
    return descriptor.file.name == "google/protobuf/wrappers.proto"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
