"""Which of a request's headers travel with a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache

from .settings import Settings


def allowed_headers(headers: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The headers that ``headers_allow`` names and ``headers_deny`` does not."""
    allow, deny = _any_of(settings.headers_allow), _any_of(settings.headers_deny)
    return {name: value for name, value in headers.items() if allow.fullmatch(name) and not deny.fullmatch(name)}


@lru_cache(maxsize=16)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    if not patterns:
        return re.compile(r"(?!)")
    return re.compile("|".join(translate(pattern.lower()) for pattern in patterns))
