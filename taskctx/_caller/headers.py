"""The policy that says which of a request's headers travel with a task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from functools import lru_cache
from itertools import compress

REMEMBERED_NAMES = 1024
"""The policy's decision is cached for this many header names: clients choose the names, so the cache has a limit."""

HeaderPolicy = Callable[[str], bool]
"""Whether the header of this (lower-case) name may be captured."""


def header_policy(allow: tuple[str, ...], deny: tuple[str, ...]) -> HeaderPolicy:
    """A policy that captures the headers that match a pattern in ``allow`` and none in ``deny``."""
    allowed, denied = _any_of(allow), _any_of(deny)

    @lru_cache(maxsize=REMEMBERED_NAMES)
    def may_travel(name: str) -> bool:
        return bool(allowed.fullmatch(name)) and not denied.fullmatch(name)

    return may_travel


def allowed_headers(headers: Mapping[str, str], may_travel: HeaderPolicy) -> dict[str, str]:
    """The headers that the policy lets through."""
    return dict(compress(headers.items(), map(may_travel, headers)))


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    if not patterns:
        return re.compile(r"(?!)")
    return re.compile("|".join(translate(pattern.lower()) for pattern in patterns))
