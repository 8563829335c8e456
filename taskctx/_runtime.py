"""What taskctx runs with in this process: one frozen object, which ``configure`` swaps as a whole.

``_configure`` puts the parts together.  So nothing here depends on how they are made, and whoever reads the runtime
depends on none of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .settings import Settings
from .telemetry.observers import Observers


class SnapshotCodec(Protocol):
    """How a snapshot's JSON becomes the bytes in Redis.

    Both methods get the full Redis key, so that a codec can bind a value to the place where it is stored.

    Attributes:
        sealing_key_id: the id of the key that it seals with; None where it does not seal.
    """

    @property
    def sealing_key_id(self) -> str | None: ...

    def encode(self, plaintext: bytes, key: str) -> bytes: ...

    def decode(self, stored: bytes, key: str) -> bytes:
        """The JSON in a stored value.

        Raises:
            SnapshotError: with the reason why the value cannot be read.
        """
        ...

    def known_key_id(self, stored: bytes) -> str | None:
        """The id of the key that a value is sealed with, if it is one of the keyring's: what telemetry may show."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything that was configured.

    Attributes:
        may_travel: the header policy: whether the header of this (lower-case) name may be captured.
        refresh_token: gets an expired token; gives a new one, or None.
    """

    settings: Settings
    codec: SnapshotCodec
    may_travel: Callable[[str], bool]
    observers: Observers
    refresh_token: Callable[[Any], Awaitable[object]] | None = None


_current: Runtime | None = None
_make_default: Callable[[], Runtime] | None = None


def runtime() -> Runtime:
    """The runtime in force; made from the environment on first use.

    Raises:
        ConfigurationError: a variable of the environment has no valid value.
    """
    return _current or _made()


def use_runtime(new: Runtime | None) -> None:
    """Put a runtime in force; None has one made from the environment on next use."""
    global _current
    _current = new


def make_default_with(make: Callable[[], Runtime]) -> None:
    """Say what makes the runtime of a process that does not call ``configure``."""
    global _make_default
    _make_default = make


def current_settings() -> Settings:
    """The settings in force."""
    return runtime().settings


def _made() -> Runtime:
    if _make_default is None:
        raise RuntimeError("taskctx was imported in part: import taskctx")
    made = _make_default()
    use_runtime(made)
    return made
