"""The page `/docs`: the whole reference in one piece, which needs nothing from elsewhere."""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from dist_task_pipelines.api.reference import (
    NAMES,
    Call,
    Field,
    Section,
    Shape,
    curl,
    sections,
    shapes,
)
from dist_task_pipelines.api.routes.common import MEANINGS

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --link: #4f43dd; }
@media (prefers-color-scheme: dark) { :root { --link: #a5a0ff; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 68rem; padding: 2rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
h2 { border-bottom: 1px solid var(--line); margin-top: 3rem; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); border-radius: 6px; overflow-x: auto; padding: .8rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; padding: .6rem 1rem; }
summary { cursor: pointer; }
.method { display: inline-block; font-weight: 600; width: 4.5rem; }
.soft { opacity: .7; }
"""


def html(made: dict[str, Any]) -> str:
    """The OpenAPI document as a page without scripts."""
    return "".join(_page(made))


def _page(made: dict[str, Any]) -> Iterator[str]:
    info = made["info"]
    yield '<!doctype html><html lang="en"><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(info['title'])} API</title><style>{STYLE}</style>"
    yield f"<h1>{escape(info['title'])} <span class=soft>{escape(info['version'])}</span></h1>"
    yield '<p><a href="/">Dagster UI</a> · <a href="/openapi.json">openapi.json</a> · '
    yield '<a href="/health">health</a> · <a href="/metrics">metrics</a></p>'
    yield from (f"<p>{_marked(part)}</p>" for part in info["description"].split("\n\n"))
    yield "<table><tr><th>error<th>meaning</tr>"
    for status, meaning in MEANINGS.items():
        yield f"<tr><td>{status}<td>{_marked(meaning)}</tr>"
    yield "</table>"
    for section in sections(made):
        yield from _section(section)
    yield "<h2>Shapes</h2>"
    for shape in shapes(made):
        yield from _shape(shape)


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{escape(section.name.capitalize())}</h2><p>{_marked(section.description)}</p>"
    for call in section.calls:
        yield from _call(call)


def _call(call: Call) -> Iterator[str]:
    yield f"<details><summary><span class=method>{call.method}</span> <code>{escape(call.path)}"
    yield f"</code> <span class=soft>{escape(call.summary)}</span></summary>"
    yield f"<p>{_marked(call.description)}</p>"
    yield from _table("parameter", call.parameters)
    if call.body:
        yield f"<p>Takes {_marked(NAMES + call.body + NAMES)}.</p>"
    yield f"<pre>{escape(curl(call))}</pre>"
    answers = "; ".join(f"{status}: {_marked(text)}" for status, text in call.answers.items())
    yield f"<p>Answers {answers}. Errors: {', '.join(call.errors) or 'none'}.</p></details>"


def _shape(shape: Shape) -> Iterator[str]:
    yield f'<h3 id="{shape.name.lower()}">{shape.name}</h3><p>{_marked(shape.description)}</p>'
    yield from _table("field", shape.fields)
    if shape.words:
        yield f"<p>{', '.join(f'<code>{escape(word)}</code>' for word in shape.words)}</p>"


def _table(first: str, fields: tuple[Field, ...]) -> Iterator[str]:
    if not fields:
        return
    yield f"<table><tr><th>{first}<th>type<th>meaning</tr>"
    for each in fields:
        yield f"<tr><td><code>{escape(each.name)}</code><td>{_marked(each.type)}"
        yield f"<td>{_marked(each.meaning)}</tr>"
    yield "</table>"


def _marked(text: str) -> str:
    """The text with its code words and links to the shapes it names."""
    code = re.sub("`(.*?)`", r"<code>\1</code>", escape(text))
    return re.sub(f"{NAMES}(.*?){NAMES}", lambda found: _link(found[1]), code)


def _link(name: str) -> str:
    return f'<a href="#{name.lower()}">{name}</a>'
