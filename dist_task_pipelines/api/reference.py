"""The OpenAPI document for people: its calls and shapes, and `docs/api.md` generated from them."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dist_task_pipelines.api.routes.common import MEANINGS

NAMES = "\x00"  # around the name of a shape in a text
SERVER = "http://127.0.0.1:3000"
NOTE = "<!-- Generated from the OpenAPI document by `make docs`; change the code instead. -->"
NOT_SHAPES = ("Envelope", "Page_")  # what stands around others, and is told once

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a call, or a field of a shape."""

    name: str
    type: str  # the names of shapes in it between NAMES
    meaning: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        parameters: those of the path, the query and the headers.
        body: the name of its body's shape, if it takes one.
        example: a body.
        answers: what `data` holds, by the status of a success.
        errors: the statuses of errors; `MEANINGS` has their meanings.
    """

    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[Field, ...]
    body: str | None
    example: Any
    answers: Mapping[str, str]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The calls of one kind of thing."""

    name: str
    description: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a body or an answer consists of; or the words that may stand for it."""

    name: str
    description: str
    fields: tuple[Field, ...]
    words: tuple[str, ...]


def sections(made: Json) -> list[Section]:
    """The calls of the document, in its order."""
    return [
        Section(tag["name"], tag["description"], tuple(_calls(made, tag["name"])))
        for tag in made["tags"]
    ]


def shapes(made: Json) -> list[Shape]:
    """The shapes of the document by name."""
    return [
        Shape(name, _text(schema), tuple(_fields(schema)), tuple(schema.get("enum", ())))
        for name, schema in made["components"]["schemas"].items()
        if not name.startswith(NOT_SHAPES)
    ]


def markdown(made: Json) -> str:
    """The page `docs/api.md`."""
    return "\n".join([*_lines(made), ""])


def _lines(made: Json) -> Iterator[str]:
    yield from ("# REST API", "", NOTE, "", made["info"]["description"].strip(), "")
    yield from ("| error | meaning |", "|---|---|")
    yield from (f"| {status} | {meaning} |" for status, meaning in MEANINGS.items())
    for section in sections(made):
        yield from ("", f"## {section.name.capitalize()}", "", section.description)
        for call in section.calls:
            yield from _call_lines(call)
    yield from ("", "## Shapes")
    for shape in shapes(made):
        yield from ("", f"### {shape.name}", "", shape.description, "")
        if shape.words:
            yield f"One of {', '.join(f'`{word}`' for word in shape.words)}."
        else:
            yield from _table("field", shape.fields)


def _call_lines(call: Call) -> Iterator[str]:
    yield from ("", f"### `{call.method} {call.path}`", "", call.description)
    if call.parameters:
        yield from ("", *_table("parameter", call.parameters))
    yield from ("", "```bash", curl(call), "```", "")
    if call.body:
        yield f"Takes {_linked(NAMES + call.body + NAMES)}."
    answers = "; ".join(f"{status}: {_linked(text)}" for status, text in call.answers.items())
    errors = f". Errors: {', '.join(call.errors)}" if call.errors else ""
    yield f"Answers {answers}{errors}."


def curl(call: Call) -> str:
    """An example of the call as a shell command."""
    method = [] if call.method == "GET" else ["-X", call.method]
    body = json.dumps(call.example, ensure_ascii=False)
    sent = ["-H", "Content-Type: application/json", "-d", body] if call.example else []
    return shlex.join(["curl", *method, f"{SERVER}{_example_path(call)}", *sent])


def _table(first: str, fields: tuple[Field, ...]) -> Iterator[str]:
    yield from (f"| {first} | type | meaning |", "|---|---|---|")
    for each in fields:
        yield f"| `{each.name}` | {_linked(each.type)} | {each.meaning} |"


def _linked(text: str) -> str:
    """The text with links to the shapes it names."""
    return re.sub(f"{NAMES}(.*?){NAMES}", lambda found: _link(found[1]), text)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _example_path(call: Call) -> str:
    path = call.path
    for name, value in (("flow_id", "order_flow_v1"), ("instance_id", "order_001")):
        path = path.replace(f"{{{name}}}", value)
    return path.replace("{exception_id}", "7")


def _calls(made: Json, tag: str) -> Iterator[Call]:
    for path, methods in made["paths"].items():
        for method, call in methods.items():
            if tag in call["tags"]:
                yield _call(made, method.upper(), path, call)


def _call(made: Json, method: str, path: str, call: Json) -> Call:
    body = _body(call)
    examples = made["components"]["schemas"][body].get("examples") if body else None
    responses = {status: call["responses"][status] for status in sorted(call["responses"])}
    return Call(
        method,
        path,
        call["summary"],
        " ".join(call["description"].split()),
        tuple(_parameter(each) for each in call.get("parameters", ())),
        body,
        examples[0] if examples else None,
        {status: _answer(made, each) for status, each in responses.items() if status < "300"},
        tuple(status for status in responses if status >= "300"),
    )


def _body(call: Json) -> str | None:
    content = call.get("requestBody", {}).get("content", {})
    return _type(content["application/json"]["schema"]).strip(NAMES) if content else None


def _parameter(parameter: Json) -> Field:
    schema = {**parameter["schema"], **parameter}
    where = "" if parameter["in"] == "query" else f"{parameter['in']}: "
    return Field(parameter["name"], _type(parameter["schema"]), where + _text(schema))


def _answer(made: Json, answer: Json) -> str:
    """What the data of a success is."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        return "text"
    envelope = made["components"]["schemas"][_type(schema).strip(NAMES)]
    data = _type(envelope["properties"]["data"])
    page = re.fullmatch(f"{NAMES}Page_(.*)_{NAMES}", data)
    told = f"a page of {NAMES}{page[1]}{NAMES}" if page else data
    meaning = answer["description"]
    return told if meaning == "Successful Response" else f"{told} ({meaning.rstrip('.')})"


def _fields(schema: Json) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, each in schema.get("properties", {}).items():
        is_needed = name in required or "default" in each
        text = _text(each)
        yield Field(name, _type(each), text if is_needed else f"optional; {text}".rstrip("; "))


def _type(schema: Json) -> str:
    """The type in words: `list of TaskView`, `string or null`."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"{NAMES}{name}{NAMES}"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return "time" if schema.get("format") == "date-time" else str(schema.get("type", "any"))


def _text(schema: Json) -> str:
    """A description fit for a cell of a table."""
    return " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")
