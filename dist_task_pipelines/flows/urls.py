"""Values inside a URL.

In a config's `url` a placeholder at the beginning stands for the beginning of the URL, or
for all of it. Anywhere after that it stands for a value, which is percent-encoded: whatever
it holds, it stays within its segment of the path or its part of the query.
"""

from urllib.parse import quote

URL_PATH = "config.url"

_DOTS = (".", "..")  # which are steps of a path however they are written


def encoded(text: str) -> str:
    """The value as it stands in a URL.

    Raises:
        ValueError: no way of writing it leaves the URL's path as it is; says why.
    """
    if text in _DOTS:
        raise ValueError(f"is {text!r}, which would change the URL's path")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate, which cannot stand in a URL") from None
