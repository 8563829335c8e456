"""Variables of the environment that were meant to be settings: told once, by name, with the name they resemble.

A variable that resembles no setting is left alone, although it begins as ours do: it is somebody else's, as those of
our own tests and demo are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

ALIKE = 0.8
"""From here on two names resemble each other: a letter or two are wrong, or a word is in another form."""

logger: logging.Logger = logging.getLogger("taskctx")
_told: set[str] = set()


def tell_misspelt(prefix: str, settings: Iterable[str]) -> None:
    """Log one line about the variables with our prefix that are nearly a setting's, unless it has been logged before.

    The values stay unread: somebody may have put a secret into the wrong variable.
    """
    found = dict(_misspelt(prefix, {name.upper() for name in settings}))
    new = found.keys() - _told
    if new:
        _told.update(new)
        said = (f"{prefix}{name} is no setting of taskctx: did you mean {prefix}{found[name]}?" for name in sorted(new))
        logger.warning("%s", " ".join(said))


def _misspelt(prefix: str, settings: set[str]) -> Iterator[tuple[str, str]]:
    """What follows the prefix, as it stands there, and what it was to be.  Case makes no difference to a setting."""
    for variable in os.environ:
        name = variable[len(prefix) :].upper()
        if not variable.upper().startswith(prefix) or name in settings:
            continue
        if meant := get_close_matches(name, settings, n=1, cutoff=ALIKE):
            yield name, meant[0]
