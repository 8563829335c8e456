"""URLs without their passwords, for messages."""

from __future__ import annotations


def shown(url: str) -> str:
    """Host and port of a URL, or its path where it has no host."""
    address = shown_with_path(url)
    return address.partition("/")[0] or address


def shown_with_path(url: str) -> str:
    """Host, port and path of a URL.

    A password may hold any character, so the text before the last ``@`` is left out.  An ``@`` after a ``?`` may belong
    to the password or to the query: then nothing is shown.
    """
    rest = url.partition("://")[2] or url
    before, _, query = rest.partition("?")
    if "@" in query:
        return "..."
    return before.rpartition("@")[2].partition("#")[0]
