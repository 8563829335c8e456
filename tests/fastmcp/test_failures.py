"""What is said and done when a snapshot cannot be restored, or not be saved."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._snapshot.codec import from_text, is_sealed_as_text
from taskctx.settings.keyring import generate_key
from tests.fastmcp.conftest import HEADERS, Service
from tests.fastmcp.installed import EncryptedCodec, with_own_key
from tests.fastmcp.server import ADA, BOB, mark
from tests.secrets import secret

FASTMCP_KEY = secret("a-key-of-fastmcp's-own")
OTHER_KEY = secret("another-key-of-fastmcp's")


@pytest.fixture
def fastmcp_key() -> Iterator[None]:
    """FASTMCP_TASKS_ENCRYPTION_KEY is set."""
    yield from with_own_key(FASTMCP_KEY)


def failures(registry: CollectorRegistry, service: Service) -> dict[str, float]:
    """The reasons counted so far."""
    return {
        sample.labels["reason"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "taskctx_restore_failures_total" and sample.value
    }


async def run_with(service: Service, value: bytes | None) -> Any:
    """Run a task whose stored snapshot is ``value``."""
    task = await service.submit()
    if value is None:
        await service.forget(task)
    else:
        await service.store(task, value)
    await service.work()
    return await service.result(task)


WHOSE: dict[str, Any] = {"access_token_json": json.dumps({"token": "t", "client_id": "other", "scopes": []})}

FAULTS = [
    pytest.param(None, "missing", id="missing"),
    pytest.param(b"not json", "malformed", id="not JSON"),
    pytest.param(b"{", "malformed", id="cut JSON"),
    pytest.param(b"{\xff", "malformed", id="not text"),
    pytest.param(json.dumps({"access_token_json": "{}"}).encode(), "malformed", id="no token"),
    pytest.param(json.dumps({"http_headers": ["a"]}).encode(), "malformed", id="no headers"),
    pytest.param(json.dumps(WHOSE).encode(), "scope_mismatch", id="somebody else's token"),
]


@pytest.mark.parametrize(("value", "reason"), FAULTS)
async def test_without_keys_the_task_runs_as_nobody(
    service: Service, registry: CollectorRegistry, value: bytes | None, reason: str
) -> None:
    """As FastMCP has it, but with a reason; and neither library's getters know a caller."""
    seen = await run_with(service, value)

    assert (seen["token"], seen["their_token"], seen["tenant"], seen["session"]) == (None, None, None, None)
    assert seen["headers"]
    assert seen["task"] == seen["their_task"]
    assert failures(registry, service) == {reason: 1}


@pytest.mark.parametrize(("value", "reason"), FAULTS)
@pytest.mark.usefixtures("fastmcp_key")
async def test_with_fastmcps_key_the_task_fails(
    service: Service, registry: CollectorRegistry, value: bytes | None, reason: str
) -> None:
    """Whatever the reason; what is stored is sealed by FastMCP here, as it would be without taskctx."""
    stored = value if value is None or not value.endswith(b"}") else EncryptedCodec(FASTMCP_KEY).encode(value.decode())
    seen = await run_with(service, stored.encode() if isinstance(stored, str) else stored)

    assert "Failed to resolve dependencies" in seen
    expected = "plaintext_refused" if value in {b"{", b"{\xff"} else reason
    assert failures(registry, service) == {expected: 1}


@pytest.mark.usefixtures("fastmcp_key")
async def test_another_key_of_fastmcps(
    service: Service, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The task fails, and the log names the variable."""
    with caplog.at_level(logging.ERROR):
        seen = await run_with(service, EncryptedCodec(OTHER_KEY).encode("{}").encode())

    assert "Failed to resolve dependencies" in seen
    assert failures(registry, service) == {"decrypt_failed": 1}
    assert "FASTMCP_TASKS_ENCRYPTION_KEY" in caplog.text


async def test_a_process_that_lacks_fastmcps_key(service: Service, registry: CollectorRegistry) -> None:
    """The task fails, although this process has no keys: it was sealed for a purpose."""
    seen = await run_with(service, EncryptedCodec(OTHER_KEY).encode("{}").encode())

    assert "Failed to resolve dependencies" in seen
    assert failures(registry, service) == {"decrypt_unknown_key": 1}


@pytest.mark.usefixtures("fastmcp_key")
async def test_fastmcps_own_key_seals(service: Service) -> None:
    """With its key set FastMCP's codec does, our part included."""
    task = await service.submit()
    stored = await service.stored(task)
    opened = json.loads(EncryptedCodec(FASTMCP_KEY).decode(stored))
    assert opened["taskctx"]["trace_context"]["baggage"] == "tenant=acme"

    await service.work()
    assert (await service.result(task))["token"] == mark(ADA)


@pytest.mark.parametrize("setting", ["fail", "continue"])
async def test_our_setting_can_only_be_stricter(service: Service, registry: CollectorRegistry, setting: Any) -> None:
    """``on_restore_failure=fail`` fails tasks that FastMCP would run anonymous."""
    taskctx.configure(registry=CollectorRegistry(), on_restore_failure=setting)
    seen = await run_with(service, None)

    assert ("Failed to resolve dependencies" in seen) == (setting == "fail")


@pytest.mark.parametrize(
    ("member", "reason"),
    [(["a"], "malformed"), ({"trace_context": 1}, "malformed"), ({"schema_version": 99}, "schema_unsupported")],
)
async def test_a_part_of_ours_that_cannot_be_read(
    service: Service, registry: CollectorRegistry, member: Any, reason: str
) -> None:
    """FastMCP's part is restored all the same."""
    task = await service.submit()
    stored = json.loads(await service.stored(task))
    await service.store(task, json.dumps(stored | {"taskctx": member}).encode())
    await service.work()
    seen = await service.result(task)

    assert (seen["token"], seen["baggage"]) == (mark(ADA), None)
    assert failures(registry, service) == {reason: 1}


async def test_a_snapshot_too_large_goes_without_our_part(service: Service, registry: CollectorRegistry) -> None:
    """A tool call that worked before instrumenting works still, and the save counts as failed."""
    taskctx.configure(registry=(own := CollectorRegistry()), max_snapshot_bytes=256)
    task = await service.submit()
    assert "taskctx" not in json.loads(await service.stored(task))
    await service.work()

    assert (await service.result(task))["token"] == mark(ADA)
    assert (
        own.get_sample_value("taskctx_save_failures_total", {"docket_name": service.docket.name, "reason": "too_large"})
        == 1
    )


@pytest.mark.parametrize("where", ["redis", "copied"])
async def test_sealed_by_the_keyring(service: Service, registry: CollectorRegistry, where: str) -> None:
    """With our keys, and FastMCP's unset: nothing of the caller is to be read, and it opens at its place only."""
    taskctx.configure(registry=(own := CollectorRegistry()), encryption_keys=f"now:{generate_key()}")
    task, other = await service.submit(), await service.submit()
    stored = await service.stored(task)
    assert is_sealed_as_text(stored)
    # all of it is base64, in which a short word may stand by chance: what is searched is what it holds
    envelope = from_text(stored)
    for text in (ADA, HEADERS["Cookie"], "x-tenant", "access_token_json", "traceparent"):
        assert text.encode() not in envelope

    if where == "copied":
        await service.store(other, stored)
    await service.work()
    assert (await service.result(task))["token"] == mark(ADA)
    if where == "copied":
        assert "Failed to resolve dependencies" in await service.result(other)
        assert failures(own, service) == {"decrypt_failed": 1}
    else:
        assert (await service.result(other))["token"] == mark(ADA)
        assert failures(own, service) == {}


@pytest.mark.parametrize(
    ("keys", "plaintext", "reason"),
    [
        ("new:{new},old:{old}", False, None),
        ("new:{new}", False, "decrypt_unknown_key"),
        ("old:{new}", False, "decrypt_failed"),
        (None, False, "decrypt_unknown_key"),
    ],
)
async def test_keys_are_rotated(service: Service, keys: str | None, plaintext: bool, reason: str | None) -> None:
    """The worker's keyring opens what an older one sealed, or the task fails with the reason."""
    old, new = generate_key(), generate_key()
    taskctx.configure(registry=CollectorRegistry(), encryption_keys=f"old:{old}")
    task = await service.submit()
    taskctx.configure(
        registry=(own := CollectorRegistry()),
        encryption_keys=None if keys is None else keys.format(old=old, new=new),
    )
    await service.work()
    seen = await service.result(task)

    assert failures(own, service) == ({} if reason is None else {reason: 1})
    assert ("Failed to resolve dependencies" in seen) == (reason is not None)


@pytest.mark.parametrize("accept", [True, False])
async def test_plaintext_while_migrating(service: Service, accept: bool) -> None:
    """A snapshot from before there were keys is refused, unless ``accept_plaintext`` is set."""
    task = await service.submit(token=BOB)
    taskctx.configure(
        registry=(own := CollectorRegistry()), encryption_keys=f"now:{generate_key()}", accept_plaintext=accept
    )
    await service.work()
    seen = await service.result(task, BOB)

    assert failures(own, service) == ({} if accept else {"plaintext_refused": 1})
    assert ("Failed to resolve dependencies" in seen) != accept
