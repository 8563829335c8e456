"""Contexts that are lost on purpose, each for the reason that was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from docket import Docket

import taskctx
from taskctx import Reason
from taskctx.settings.keyring import generate_key
from taskctx.testing import NOBODY, assert_restored, configured, fake_caller, restored, run_as_worker
from tests.secrets import MARKER

ADA = fake_caller("ada")
LOST = [Reason.MISSING, Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED, Reason.SCOPE_MISMATCH, Reason.DECRYPT_UNKNOWN_KEY]


async def report() -> str | None:
    return taskctx.get_task_scope()


@pytest.fixture(params=["plain", "sealed"])
def keys(request: pytest.FixtureRequest) -> str | None:
    return f"test:{generate_key()}" if request.param == "sealed" else None


@pytest.mark.parametrize("reason", LOST)
async def test_under_continue_the_task_is_nobodys(docket: Docket, keys: str | None, reason: Reason) -> None:
    with configured(on_restore_failure="continue", encryption_keys=keys):
        run = await run_as_worker(report, caller=ADA, docket=docket, failure=reason)()
    assert (run.outcome, run.reason, run.error, run.result) == ("failed", reason, None, None)
    assert_restored(NOBODY, run.seen)


@pytest.mark.parametrize("reason", LOST)
async def test_under_fail_the_body_does_not_run(docket: Docket, keys: str | None, reason: Reason) -> None:
    with configured(on_restore_failure="fail", encryption_keys=keys):
        run = await run_as_worker(report, caller=ADA, docket=docket, failure=reason)()
    assert isinstance(run.error, taskctx.RestoreError)
    assert run.error.reason is run.reason is reason
    assert run.seen is None


async def test_a_token_that_expired_in_the_queue(docket: Docket, keys: str | None) -> None:
    """The rest is there, unless expired tokens are to fail the restore."""
    with configured(encryption_keys=keys):
        run = await run_as_worker(report, caller=ADA, docket=docket, failure=Reason.CREDENTIAL_EXPIRED)()
        assert (run.outcome, run.reason) == ("degraded", Reason.CREDENTIAL_EXPIRED)
        assert run.seen is not None
        assert run.seen.access_token is None
        assert run.seen.request_id == ADA.request_id
        with configured(on_expired_token="fail"):
            run = await run_as_worker(report, caller=ADA, docket=docket, failure=Reason.CREDENTIAL_EXPIRED)()
    assert (run.outcome, run.reason) == ("failed", Reason.CREDENTIAL_EXPIRED)


async def test_a_hook_for_expired_tokens(docket: Docket) -> None:
    """Asked within the block only; one that gives none, or fails, is named."""

    async def refresh(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        return expired.model_copy(update={"expires_at": None})

    async def fails(_: taskctx.AccessToken) -> None:
        raise ConnectionError

    async def outcome() -> tuple[str, Reason | None]:
        run = await run_as_worker(report, caller=ADA, docket=docket, failure=Reason.CREDENTIAL_EXPIRED)()
        return run.outcome, run.reason

    with configured(refresh_token=refresh):
        assert await outcome() == ("ok", None)
        with configured(refresh_token=fails):
            assert await outcome() == ("degraded", Reason.CREDENTIAL_REFRESH_FAILED)
        assert await outcome() == ("ok", None)
    assert await outcome() == ("degraded", Reason.CREDENTIAL_EXPIRED)
    with pytest.raises(taskctx.InvalidType), configured(refresh_token="no function"):  # type: ignore[arg-type]
        pytest.fail("it was taken")


async def test_a_sealed_snapshot_that_was_altered(docket: Docket) -> None:
    with configured(encryption_keys=f"test:{generate_key()}"):
        run = await run_as_worker(report, caller=ADA, docket=docket, failure=Reason.DECRYPT_FAILED)()
    assert run.reason is Reason.DECRYPT_FAILED
    assert isinstance(run.error, taskctx.RestoreError)


async def test_an_anonymous_callers_task_with_somebodys_token(docket: Docket) -> None:
    run = await run_as_worker(report, caller=fake_caller(None), docket=docket, failure=Reason.SCOPE_MISMATCH)()
    assert run.reason is Reason.SCOPE_MISMATCH


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.BACKEND_TIMEOUT, "cannot be simulated; what can is: credential_expired"),
        (Reason.DECRYPT_FAILED, "encryption_keys"),
        (Reason.CREDENTIAL_EXPIRED, "anonymous"),
    ],
)
async def test_what_cannot_be_simulated_is_refused(reason: Reason, said: str) -> None:
    """The error says which failures can be simulated, or what this one needs."""
    with pytest.raises(taskctx.InvalidArgument, match=said):
        await run_as_worker(report, caller=fake_caller(None), failure=reason)()


@pytest.mark.parametrize(("failure", "error"), [(MARKER, taskctx.InvalidArgument), (5, taskctx.InvalidType)])
async def test_what_is_no_reason_is_refused(failure: Any, error: type[Exception]) -> None:
    """Before anything is submitted; what can be simulated is listed, what was given is not quoted."""
    with pytest.raises(error, match="what can is: credential_expired, ") as refused:
        run_as_worker(report, failure=failure)
    assert MARKER not in str(refused.value)
    with pytest.raises(error):
        async with restored(failure=failure):
            pytest.fail("it was simulated")


async def test_a_reasons_word_is_as_good_as_the_reason() -> None:
    """They are equal, and tests are not always type-checked."""
    word: Any = "missing"
    assert (await run_as_worker(report, failure=word)()).reason is Reason.MISSING


async def test_a_snapshot_that_was_not_saved_cannot_be_damaged() -> None:
    refused = pytest.raises(taskctx.InvalidArgument, match="no snapshot to damage")
    with configured(max_snapshot_bytes=256, on_save_failure="continue"), refused:
        await run_as_worker(report, caller=ADA, failure=Reason.MALFORMED)()
