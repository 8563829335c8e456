"""Settings: from the environment, frozen, and silent about values."""

from __future__ import annotations

from typing import Any, get_type_hints

import pydantic
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

import taskctx
from taskctx._runtime import current_settings, use_runtime
from taskctx.errors import ConfigurationError, Reason
from taskctx.settings import ENVIRONMENT_PREFIX, Settings, SettingsOverrides, load_settings
from taskctx.settings.keyring import generate_key
from tests.secrets import MARKER

DEFAULTS: dict[str, object] = {
    "on_restore_failure": "continue",
    "on_save_failure": "raise",
    "on_anonymous": "allow",
    "pending_ttl": 86_400,
    "completed_ttl": 900,
    "sweep_interval": 600,
    "max_snapshot_bytes": 65_536,
    "headers_allow": ("*",),
    "headers_deny": (),
    "headers_deny_defaults": True,
    "on_expired_token": "drop",
    "trace_mode": "link",
    "baggage_keys": ("*",),
    "encryption_keys": None,
    "accept_plaintext": False,
    "key_prefix": "taskctx",
    "session_registry_size": 10_000,
    "server_registry_size": 10_000,
    "backend_timeout": 5.0,
    "refresh_timeout": 5.0,
    "metrics": True,
    "tracing": True,
}
"""The table of the architecture, and the two timeouts."""

ENVIRONMENT: dict[str, tuple[str, object]] = {
    "on_restore_failure": ("fail", "fail"),
    "on_save_failure": ("continue", "continue"),
    "on_anonymous": ("refuse", "refuse"),
    "pending_ttl": ("60", 60),
    "completed_ttl": ("30", 30),
    "sweep_interval": ("60", 60),
    "max_snapshot_bytes": ("1024", 1024),
    "headers_allow": ("X-Tenant, x-request-*,", ("X-Tenant", "x-request-*")),
    "headers_deny": ("x-internal,*-internal", ("x-internal", "*-internal")),
    "headers_deny_defaults": ("false", False),
    "on_expired_token": ("keep", "keep"),
    "trace_mode": ("parent", "parent"),
    "baggage_keys": ("tenant", ("tenant",)),
    "accept_plaintext": ("true", True),
    "key_prefix": ("acme.ctx-1_a", "acme.ctx-1_a"),
    "session_registry_size": ("10", 10),
    "server_registry_size": ("20", 20),
    "backend_timeout": ("0.5", 0.5),
    "refresh_timeout": ("1.5", 1.5),
    "metrics": ("false", False),
    "tracing": ("0", False),
}

WRONG: list[tuple[str, str]] = [
    ("on_restore_failure", MARKER),
    ("on_save_failure", MARKER),
    ("on_anonymous", MARKER),
    ("pending_ttl", MARKER),
    ("pending_ttl", "0"),
    ("pending_ttl", "-1"),
    ("pending_ttl", "nan"),
    ("completed_ttl", "0"),
    ("completed_ttl", MARKER),
    ("sweep_interval", "-1"),
    ("sweep_interval", MARKER),
    ("max_snapshot_bytes", "255"),
    ("max_snapshot_bytes", MARKER),
    ("headers_deny_defaults", MARKER),
    ("headers_deny_defaults", ""),
    ("on_expired_token", MARKER),
    ("trace_mode", MARKER),
    ("key_prefix", f"{MARKER}:{MARKER}"),
    ("key_prefix", f"{MARKER} "),
    ("key_prefix", f"{{{MARKER}}}"),
    ("key_prefix", ""),
    ("session_registry_size", "0"),
    ("server_registry_size", "0"),
    ("server_registry_size", MARKER),
    ("backend_timeout", "0"),
    ("backend_timeout", "-1"),
    ("backend_timeout", "nan"),
    ("backend_timeout", "inf"),
    ("backend_timeout", MARKER),
    ("refresh_timeout", "0"),
    ("refresh_timeout", "-1"),
    ("refresh_timeout", "nan"),
    ("refresh_timeout", "inf"),
    ("refresh_timeout", MARKER),
    ("metrics", MARKER),
    ("tracing", MARKER),
]


SMALLEST: dict[str, float] = {
    "pending_ttl": 1,
    "completed_ttl": 1,
    "sweep_interval": 0,
    "max_snapshot_bytes": 256,
    "session_registry_size": 1,
    "server_registry_size": 1,
    "backend_timeout": 0.001,
    "refresh_timeout": 0.001,
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{ENVIRONMENT_PREFIX}{name.upper()}", raising=False)


def test_the_defaults() -> None:
    """They are those of the documentation, and there are no others."""
    assert load_settings().model_dump() == DEFAULTS


def test_keys_come_from_their_variable_and_change_the_failure_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys, ``on_restore_failure`` is ``fail`` unless it is set."""
    key = generate_key()
    monkeypatch.setenv("TASKCTX_ENCRYPTION_KEYS", f"2026-11:{key}")
    loaded = load_settings()
    assert loaded.on_restore_failure == "fail"
    assert loaded.keyring is not None
    assert loaded.keyring.primary == "2026-11"
    assert key not in repr(loaded)
    assert load_settings(on_restore_failure="continue").on_restore_failure == "continue"


def test_a_sealed_snapshot_fails_a_task_of_a_process_without_keys() -> None:
    """Unless it was told to continue; any other failure does not."""
    assert load_settings().fails_task(Reason.DECRYPT_UNKNOWN_KEY)
    assert not load_settings().fails_task(Reason.MISSING)
    assert not load_settings(on_restore_failure="continue").fails_task(Reason.DECRYPT_UNKNOWN_KEY)
    assert load_settings(on_restore_failure="fail").fails_task(Reason.MISSING)


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"encryption_keys"}))
def test_every_setting_has_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``TASKCTX_`` and the setting's name."""
    text, value = ENVIRONMENT[name]
    monkeypatch.setenv(f"TASKCTX_{name.upper()}", text)
    assert load_settings().model_dump() == DEFAULTS | {name: value}


def test_an_argument_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program says itself counts most."""
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "60")
    assert load_settings(pending_ttl=120).pending_ttl == 120


@pytest.mark.parametrize(
    ("text", "patterns"),
    [("", ()), (",", ()), ("*", ("*",)), ("a,b", ("a", "b")), (" a , ,b ", ("a", "b")), ("[ab]", ("[ab]",))],
)
@pytest.mark.parametrize("name", ["headers_allow", "headers_deny", "baggage_keys"])
def test_patterns_are_separated_by_commas(
    name: str, text: str, patterns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list in the environment is separated by commas; an empty variable is an empty list."""
    monkeypatch.setenv(f"TASKCTX_{name.upper()}", text)
    assert load_settings().model_dump()[name] == patterns


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_variable_is_named_and_not_quoted(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error does not quote the value, which may be a secret in the wrong variable."""
    variable = f"TASKCTX_{name.upper()}"
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=f"^{variable}: ") as caught:
        load_settings()
    assert MARKER not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("name", "value"), [*WRONG, ("headers_allow", 7), ("baggage_keys", [MARKER, 7])])
def test_a_wrong_argument_is_named_and_not_quoted(name: str, value: object) -> None:
    """The error has the argument's name, not the variable's."""
    with pytest.raises(ConfigurationError, match=f"^{name}: ") as caught:
        load_settings(**{name: value})
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), SMALLEST.items())
def test_the_smallest_values(name: str, value: float) -> None:
    """Small is not wrong: tests and short-lived tasks want it so."""
    assert load_settings(**{name: value}).model_dump()[name] == value


def test_a_wrong_setting_is_not_quoted_by_pydantic_either() -> None:
    """``Settings`` may be made without ``load_settings``."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Settings(key_prefix=f"{MARKER}:", encryption_keys=SecretStr(MARKER))
    assert MARKER not in f"{caught.value} {caught.value!r}"


def test_all_that_is_wrong_is_named_at_once() -> None:
    """One round of corrections is enough."""
    with pytest.raises(ConfigurationError, match=r"^pending_ttl: .*; trace_mode: "):
        load_settings(pending_ttl=0, trace_mode="neither")


def test_an_argument_that_is_no_setting_is_refused() -> None:
    """A typo is not silently nothing."""
    with pytest.raises(ConfigurationError, match=r"^pending_tll: "):
        taskctx.configure(pending_tll=60)  # type: ignore[call-arg]


def test_settings_are_frozen() -> None:
    """They change as a whole, through ``configure``."""
    with pytest.raises(pydantic.ValidationError):
        load_settings().pending_ttl = 1


def test_configures_arguments_are_the_settings() -> None:
    """The same names with the same types: neither can drift from the other."""
    hints: dict[str, Any] = get_type_hints(Settings)
    # keys may be given as plain text too
    hints["encryption_keys"] |= str
    assert get_type_hints(SettingsOverrides) == {name: hints[name] for name in Settings.model_fields}


def test_settings_that_are_put_in_force_are_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument of ``configure`` overrides the environment."""
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "60")
    taskctx.configure(registry=CollectorRegistry(), pending_ttl=120)
    assert current_settings().pending_ttl == 120


def test_the_environment_is_read_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is read once, until the runtime is made again."""
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "60")
    use_runtime(None)
    assert current_settings().pending_ttl == 60
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "120")
    assert current_settings().pending_ttl == 60
    use_runtime(None)
    assert current_settings().pending_ttl == 120


def test_a_wrong_environment_is_reported_when_it_is_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every use raises the error until the variable is valid."""
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "soon")
    use_runtime(None)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"^TASKCTX_PENDING_TTL: "):
            taskctx.TaskContextSnapshot.capture()
    monkeypatch.setenv("TASKCTX_PENDING_TTL", "60")
    assert current_settings().pending_ttl == 60


@pytest.mark.parametrize("name", ["headers_allow", "headers_deny", "baggage_keys"])
@pytest.mark.parametrize("given", [f'"x-{MARKER}"', "'x-a'", f'["x-{MARKER}"]', "x-a; x-b", "x-a x-b", "x-a\nx-b"])
def test_a_pattern_that_matches_no_name_is_refused(name: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from ``docker run --env-file``, which keeps quotes: a header that was to be denied would travel."""
    with pytest.raises(ConfigurationError, match=f"^{name}: .*Write x-a, x-b") as caught:
        load_settings(**{name: (given,)})
    assert MARKER not in str(caught.value)
    monkeypatch.setenv(f"TASKCTX_{name.upper()}", given)
    with pytest.raises(ConfigurationError, match=f"^TASKCTX_{name.upper()}: "):
        load_settings()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("pending_tll", "did you mean pending_ttl?"), ("registries", "there is no such setting")],
)
def test_an_argument_that_is_no_setting(wrong: str, said: str) -> None:
    """The error says so, and names the setting that is meant where one is alike."""
    with pytest.raises(ConfigurationError) as caught:
        taskctx.configure(**{wrong: MARKER})  # pyright: ignore[reportArgumentType]
    assert str(caught.value).startswith(f"{wrong}: ")
    assert str(caught.value).endswith(said)
