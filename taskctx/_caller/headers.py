"""Which of a request's headers travel with a task."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import translate
from functools import lru_cache
from itertools import compress

from ..settings import Settings

REMEMBERED_NAMES = 1024
"""Names of headers come over the wire: what was decided of them is remembered for so many."""


def allowed_headers(headers: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The headers that ``headers_allow`` names and ``headers_deny`` does not."""
    may_travel = _policy(settings.headers_allow, settings.headers_deny)
    return dict(compress(headers.items(), map(may_travel, headers)))


@lru_cache(maxsize=4)
def _policy(allow: tuple[str, ...], deny: tuple[str, ...]) -> Callable[[str], bool]:
    allowed, denied = _any_of(allow), _any_of(deny)

    @lru_cache(maxsize=REMEMBERED_NAMES)
    def may_travel(name: str) -> bool:
        return bool(allowed.fullmatch(name)) and not denied.fullmatch(name)

    return may_travel


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    if not patterns:
        return re.compile(r"(?!)")
    return re.compile("|".join(translate(pattern.lower()) for pattern in patterns))
