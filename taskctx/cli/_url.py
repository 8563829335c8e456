"""URLs without their passwords, for messages."""

from __future__ import annotations

import re


def shown(url: str) -> str:
    """Host and port of a URL, or its path where it has no host.

    A password may hold any character, so the text before the last ``@`` is left out.  An ``@`` after a ``?`` may belong
    to the password or to the query: then nothing is shown.
    """
    rest = url.partition("://")[2] or url
    before, _, query = rest.partition("?")
    if "@" in query:
        return "..."
    address = before.rpartition("@")[2]
    return re.split(r"[/#]", address, maxsplit=1)[0] or address
