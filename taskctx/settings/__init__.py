"""The settings: frozen, from ``TASKCTX_*`` variables or :func:`taskctx.configure`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypedDict, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..errors import ConfigurationError, Reason
from .keyring import Keyring, parse_keyring

ENVIRONMENT_PREFIX = "TASKCTX_"

DENIED_HEADERS = (
    # credentials: the access token travels in a field of its own
    "*authorization",
    "authentication",
    "cookie",
    "cookie2",
    "set-cookie",
    "*api-key",
    "*apikey",
    "*-access-key",
    "*-subscription-key",
    "x-functions-key",
    "x-auth-*",
    "*token",
    "*secret",
    "*password*",
    "*jwt*",
    "dpop",
    # identities that gateways and clouds add, signed or not, and certificates
    "x-amzn-oidc-*",
    "x-ms-client-principal*",
    "*client-cert*",
    "*clientcert*",
    # hop-by-hop headers (RFC 9110 section 7.6.1), and headers about the request's own body
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    # carried as the trace context already, and wrong as headers in the task
    "traceparent",
    "tracestate",
    "baggage",
)
"""The built-in list of headers that are never captured: ``headers_deny`` adds to it."""


def _split_commas(value: object) -> object:
    """``"a, b"`` from the environment becomes ``("a", "b")``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


_IN_NO_NAME = re.compile(r"""[\s"';]""")


def _check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns, where each can match a name: a header to be denied would travel otherwise.

    ``docker run --env-file`` keeps quotes, and a JSON list has some.
    """
    if any(map(_IN_NO_NAME.search, patterns)):
        raise ValueError("a pattern has a quote, a blank or a semicolon in it, which no name has. Write x-a, x-b-*")
    return patterns


Patterns = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_check_patterns)]
"""Shell patterns (``*``, ``?``), not case-sensitive; comma-separated in the environment."""


class Settings(BaseSettings):
    """Every setting with its default.  Durations are seconds, sizes are bytes."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    on_restore_failure: Literal["continue", "fail"] = "continue"
    """When a context cannot be restored: run the task anonymously, or fail it; ``fail`` once a key is configured."""

    on_save_failure: Literal["raise", "continue"] = "raise"
    """When a context cannot be captured or saved: refuse to schedule the task, or schedule it without context."""

    on_anonymous: Literal["allow", "warn", "refuse"] = "allow"
    """When there is no caller, outside of :func:`taskctx.anonymous`: submit, submit and log a warning, or refuse to
    submit; ``warn`` once a key is configured."""

    pending_ttl: int = Field(default=86_400, ge=1)
    """How long a snapshot lives after its task is due; with a longer backlog, tasks lose their callers."""

    completed_ttl: int = Field(default=900, ge=1)
    """How long the snapshot of a finished task still lives; keep it above Docket's redelivery timeout."""

    sweep_interval: int = Field(default=600, ge=0)
    """How often a worker searches for snapshots of tasks that ended without running their body, to give them
    ``completed_ttl``; 0 means never."""

    max_snapshot_bytes: int = Field(default=65_536, ge=256)
    """The largest stored size of a snapshot; a save refuses a larger one."""

    headers_allow: Patterns = ("*",)
    """Headers that may be captured; empty means none."""

    headers_deny: Patterns = ()
    """More headers that are never captured, whatever ``headers_allow`` says, in addition to the built-in list."""

    headers_deny_defaults: bool = True
    """Whether the built-in list of headers that are never captured applies: credentials, and hop-by-hop headers."""

    on_expired_token: Literal["drop", "keep", "fail"] = "drop"
    """What to do with a token that expired while its task was queued."""

    trace_mode: Literal["link", "parent"] = "link"
    """Link the task's trace to its origin, or run the task's body inside the origin's trace."""

    baggage_keys: Patterns = ("*",)
    """W3C baggage keys that are carried; empty means none."""

    encryption_keys: SecretStr | None = None
    """``id:BASE64,id:BASE64``: the first key seals, every key opens.  ``taskctx keygen`` prints a new entry."""

    accept_plaintext: bool = False
    """Whether a process with keys reads snapshots that are not sealed; for a migration."""

    key_prefix: str = Field(default="taskctx", pattern=r"^[A-Za-z0-9._-]+$")
    """The first segment of every Redis key, after the docket's own prefix."""

    session_registry_size: int = Field(default=10_000, ge=1)
    """The most live sessions that a process keeps for its tasks; the oldest are removed first."""

    server_registry_size: int = Field(default=10_000, ge=1)
    """The most live servers that a process keeps for its tasks; the oldest are removed first."""

    backend_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """How long the Redis commands of one save or restore may take, retries included."""

    refresh_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """How long the ``refresh_token`` hook may take."""

    metrics: bool = True
    """Whether taskctx makes Prometheus metrics."""

    tracing: bool = True
    """Whether taskctx makes OpenTelemetry spans."""

    @model_validator(mode="before")
    @classmethod
    def _be_strict_once_there_are_keys(cls, values: Any) -> Any:
        """With keys, the defaults are strict: no task runs without its context, or without a caller by mistake."""
        given = cast("dict[str, Any]", values)
        if given.get("encryption_keys") is None:
            return given
        return {"on_restore_failure": "fail", "on_anonymous": "warn", **given}

    @field_validator("encryption_keys")
    @classmethod
    def _check_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_keyring(value.get_secret_value())
        return value

    @property
    def denied_headers(self) -> tuple[str, ...]:
        """The patterns of all headers that are never captured."""
        return (*DENIED_HEADERS, *self.headers_deny) if self.headers_deny_defaults else self.headers_deny

    @cached_property
    def keyring(self) -> Keyring | None:
        """The encryption keys, parsed."""
        return None if self.encryption_keys is None else parse_keyring(self.encryption_keys.get_secret_value())

    def refuses_task(self, reason: Reason) -> bool:
        """Whether a task is not scheduled when its context was not captured or saved for this reason."""
        return self.on_save_failure == "raise" or reason is Reason.ANONYMOUS

    def fails_task(self, reason: Reason) -> bool:
        """Whether a failed restore fails the task.

        A process without keys also fails the task of a sealed snapshot, unless ``on_restore_failure`` was set: the
        submitter's keys mean that the task must not run without its context.
        """
        if self.on_restore_failure == "fail":
            return True
        return reason is Reason.DECRYPT_UNKNOWN_KEY and "on_restore_failure" not in self.model_fields_set


class SettingsOverrides(TypedDict, total=False):
    """The keyword arguments of :func:`taskctx.configure`; one for each field of :class:`Settings`."""

    on_restore_failure: Literal["continue", "fail"]
    on_save_failure: Literal["raise", "continue"]
    on_anonymous: Literal["allow", "warn", "refuse"]
    pending_ttl: int
    completed_ttl: int
    sweep_interval: int
    max_snapshot_bytes: int
    headers_allow: tuple[str, ...]
    headers_deny: tuple[str, ...]
    headers_deny_defaults: bool
    on_expired_token: Literal["drop", "keep", "fail"]
    trace_mode: Literal["link", "parent"]
    baggage_keys: tuple[str, ...]
    encryption_keys: SecretStr | str | None
    accept_plaintext: bool
    key_prefix: str
    session_registry_size: int
    server_registry_size: int
    backend_timeout: float
    refresh_timeout: float
    metrics: bool
    tracing: bool


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with ``overrides`` on top.

    Raises:
        ConfigurationError: a setting has no valid value; the message names the variable or argument, never the value.
    """
    given = frozenset(overrides)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        found = [(str(problem["loc"][0]), problem["type"], problem["msg"]) for problem in error.errors()]
        problems = [(name, _no_setting(name) if kind == "extra_forbidden" else said) for name, kind, said in found]
    finally:
        # error reporters send the locals of every frame that an exception passes: the keys may be among these
        del overrides
    raise ConfigurationError("; ".join(_describe(name, message, given) for name, message in problems))


def _describe(name: str, message: str, given: Container[str]) -> str:
    source = name if name in given else f"{ENVIRONMENT_PREFIX}{name.upper()}"
    return f"{source}: {message.removeprefix('Value error, ')}"


def _no_setting(name: str) -> str:
    meant = get_close_matches(name, Settings.model_fields, n=1, cutoff=ALIKE)
    return f"there is no such setting: did you mean {meant[0]}?" if meant else "there is no such setting"


ALIKE = 0.8
"""The lowest ratio at which two names are similar: one or two letters differ, or a word has another form."""

logger: logging.Logger = logging.getLogger("taskctx")
_told: set[str] = set()


def tell_misspelt(prefix: str, settings: Iterable[str]) -> None:
    """Log one line about variables with taskctx's prefix that resemble a setting's name, once for each variable.

    The values are not read: the wrong variable may hold a secret.
    """
    found = dict(_misspelt(prefix, {name.upper() for name in settings}))
    new = found.keys() - _told
    if new:
        _told.update(new)
        said = (f"{prefix}{name} is no setting of taskctx: did you mean {prefix}{found[name]}?" for name in sorted(new))
        # a handler or filter of the user's may raise: no task fails because of a log line
        with suppress(Exception):
            logger.warning("%s", " ".join(said))


def _misspelt(prefix: str, settings: set[str]) -> Iterator[tuple[str, str]]:
    """The misspelt names without the prefix, each with the setting that it resembles.  Settings ignore case."""
    for variable in os.environ:
        name = variable[len(prefix) :].upper()
        if not variable.upper().startswith(prefix) or name in settings:
            continue
        if meant := get_close_matches(name, settings, n=1, cutoff=ALIKE):
            yield name, meant[0]
