"""The runtime of this process: one frozen object with all that was configured.  ``configure`` replaces it as a whole.

``_configure`` makes the parts.  So this module does not depend on how they are made, and modules that read the runtime
do not depend on the parts' modules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, Protocol

from .settings import Settings
from .telemetry.observers import Observers


class SnapshotCodec(Protocol):
    """Encodes a snapshot's JSON as the bytes in Redis, and decodes these bytes.

    Both methods take the full Redis key, so that a codec can bind a value to its key.

    Attributes:
        sealing_key_id: the id of the key that the codec seals with; None where the codec does not seal.
    """

    @property
    def sealing_key_id(self) -> str | None: ...

    def encode(self, plaintext: bytes, key: str) -> bytes: ...

    def decode(self, stored: bytes, key: str) -> bytes:
        """The JSON in a stored value.

        Raises:
            SnapshotError: the value cannot be read; the error has the reason.
        """
        ...

    def known_key_id(self, stored: bytes) -> str | None:
        """The id of the key that a value is sealed with, if the keyring has the key; telemetry shows no other id."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """The configuration in force.

    Attributes:
        may_travel: the header policy: whether the header with this (lower-case) name may be captured.
        refresh_token: takes an expired token; returns a new one, or None.
    """

    settings: Settings
    codec: SnapshotCodec
    may_travel: Callable[[str], bool]
    observers: Observers
    refresh_token: Callable[[Any], Awaitable[object]] | None = None


configuring: Final = RLock()
"""Held while a runtime is made and put in force.  Re-entrant: a user's logging handler may ask for it meanwhile."""

_current: Runtime | None = None
_make_default: Callable[[], Runtime] | None = None


def runtime() -> Runtime:
    """The runtime in force; at its first use it is made from the environment.

    Raises:
        ConfigurationError: an environment variable has no valid value.
    """
    return _current or _made()


def use_runtime(new: Runtime | None) -> None:
    """Put a runtime in force; with None, the next use makes one from the environment."""
    global _current
    _current = new


def make_default_with(make: Callable[[], Runtime]) -> None:
    """Set the function that makes the runtime of a process that does not call ``configure``."""
    global _make_default
    _make_default = make


def current_settings() -> Settings:
    """The settings in force."""
    return runtime().settings


def _made() -> Runtime:
    if _make_default is None:
        raise RuntimeError("taskctx was imported in part: import taskctx")
    with configuring:
        # another thread may have configured since this one looked
        made = _current or _make_default()
        use_runtime(made)
    return made
