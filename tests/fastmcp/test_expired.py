"""Tokens that expired while their task was queued, and the hook that gives a new one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastmcp.server.dependencies import get_access_token
from prometheus_client import CollectorRegistry

import taskctx
from tests.fastmcp.conftest import Service
from tests.fastmcp.server import ADA, EVE, mark
from tests.fastmcp.test_failures import failures
from tests.secrets import secret

RENEWED = secret("renewed")


async def run_expired(service: Service) -> Any:
    """Run a task whose token is over when its worker starts on it."""
    task = await service.submit()
    stored = json.loads(await service.stored(task))
    token = json.loads(stored["access_token_json"]) | {"expires_at": 1}
    await service.store(task, json.dumps(stored | {"access_token_json": json.dumps(token)}).encode())
    await service.work()
    return await service.result(task)


@pytest.mark.parametrize("setting", ["drop", "keep"])
async def test_an_expired_token_is_dropped(service: Service, setting: Any) -> None:
    """By both, and the rest of the caller stays.  FastMCP keeps none, so neither do we, whatever the setting."""
    taskctx.configure(registry=(own := CollectorRegistry()), on_expired_token=setting)
    seen = await run_expired(service)

    assert (seen["token"], seen["their_token"], seen["tenant"]) == (None, None, "acme")
    assert failures(own, service) == {"credential_expired": 1}


async def test_an_expired_token_fails_the_task_where_it_is_to(service: Service) -> None:
    """``on_expired_token=fail`` together with ``on_restore_failure=fail``."""
    taskctx.configure(registry=(own := CollectorRegistry()), on_expired_token="fail", on_restore_failure="fail")

    assert "Failed to resolve dependencies" in await run_expired(service)
    assert failures(own, service) == {"credential_expired": 1}


async def test_the_hook_gives_a_new_token(service: Service) -> None:
    """FastMCP's getters know it too; the hook itself runs anonymous, to FastMCP as well."""
    asked: list[tuple[str, object, object]] = []

    async def renew(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        asked.append((expired.token, taskctx.get_access_token(), get_access_token()))
        return expired.model_copy(update={"token": RENEWED, "expires_at": None})

    taskctx.configure(registry=(own := CollectorRegistry()), refresh_token=renew)
    seen = await run_expired(service)

    assert asked == [(ADA, None, None)]
    assert (seen["token"], seen["their_token"]) == (mark(RENEWED), mark(RENEWED))
    assert (seen["same_token"], seen["tenant"], seen["scope"]) == (True, "acme", "mcp-app|ada")
    assert failures(own, service) == {}


async def test_the_hook_gives_another_callers_token(service: Service) -> None:
    """The task runs anonymous, to both."""

    async def renew(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        return expired.model_copy(update={"client_id": "other", "expires_at": None})

    taskctx.configure(registry=(own := CollectorRegistry()), refresh_token=renew)
    seen = await run_expired(service)

    assert (seen["token"], seen["their_token"], seen["tenant"]) == (None, None, None)
    assert failures(own, service) == {"scope_mismatch": 1}


async def test_the_hook_fails(service: Service) -> None:
    """As without a token, with a reason of its own."""

    async def renew(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        raise RuntimeError(secret("reason"))

    taskctx.configure(registry=(own := CollectorRegistry()), refresh_token=renew)
    seen = await run_expired(service)

    assert (seen["token"], seen["their_token"], seen["tenant"]) == (None, None, "acme")
    assert failures(own, service) == {"credential_refresh_failed": 1}


async def test_the_life_of_tokens_is_measured(service: Service) -> None:
    """At submission and at restore, in the histograms of any other task."""
    taskctx.configure(registry=(own := CollectorRegistry()))
    await service.run(token=ADA)
    counts = ["taskctx_credential_ttl_at_capture_seconds_count", "taskctx_credential_ttl_remaining_seconds_count"]
    of = {"docket_name": service.docket.name}
    assert [own.get_sample_value(count, of) for count in counts] == [0, 0], "ada's does not expire"
    await service.run(token=EVE)
    assert [own.get_sample_value(count, of) for count in counts] == [1, 1]
