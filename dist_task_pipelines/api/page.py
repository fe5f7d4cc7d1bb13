"""The page `/docs`."""

import html as escaping
from typing import Any


def html(made: dict[str, Any]) -> str:
    """The document as a page without scripts."""
    return f"<!doctype html><title>{escaping.escape(made['info']['title'])}</title>"
