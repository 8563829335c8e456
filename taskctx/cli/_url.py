"""URLs as they may be shown: without the passwords that may be in them."""

from __future__ import annotations

import re


def shown(url: str) -> str:
    """Host and port of a URL, or its path where it has no host.

    A password may hold any character, so what stands before the last ``@`` is left out, and nothing is shown where a
    ``?`` leaves it open what that is.
    """
    rest = url.partition("://")[2] or url
    before, _, query = rest.partition("?")
    if "@" in query:
        return "..."
    address = before.rpartition("@")[2]
    return re.split(r"[/#]", address, maxsplit=1)[0] or address
