"""The hook on the page about tokens that expire in the queue renews them."""

from __future__ import annotations

import json
import runpy
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from docket import Docket, Worker

import taskctx
from tests.docs.pages import write_files
from tests.helpers import Caller
from tests.secrets import secret

ADA, EVE = Caller("ada", expires_at=1), Caller("eve", expires_at=1)
"""Two callers with expired tokens."""


class IdentityProvider(BaseHTTPRequestHandler):
    """Exchanges tokens for one client, as RFC 8693 has it; eve's it refuses."""

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        known = self.headers["Authorization"] == "Basic " + b64encode(f"worker:{secret('client')}".encode()).decode()
        assert known
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        answer = json.dumps({"access_token": f"{form['subject_token']}-renewed", "expires_in": 3600}).encode()
        self.send_response(403 if form["subject_token"] == EVE.token.token else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing on stderr."""


@pytest.fixture
def identity_provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), IdentityProvider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()


async def test_the_hook_renews_tokens(
    docket: Docket, worker: Worker, identity_provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed module, imported in a worker: a task sees the token that it was exchanged for, or none."""
    write_files("how-to/refresh-tokens.md", tmp_path)
    monkeypatch.setenv("TOKEN_URL", identity_provider)
    monkeypatch.setenv("CLIENT_ID", "worker")
    monkeypatch.setenv("CLIENT_SECRET", secret("client"))
    runpy.run_path(str(tmp_path / "renewal.py"))
    seen: dict[str | None, str | None] = {}

    async def task() -> None:
        token, request_id = taskctx.get_access_token(), taskctx.get_request_id()
        seen[request_id] = None if token is None else token.token

    for caller in (ADA, EVE):
        with taskctx.bind_caller(access_token=caller.token, request_id=caller.name):
            await taskctx.add(docket, task)()
    await worker.run_until_finished()
    assert seen == {"ada": f"{ADA.token.token}-renewed", "eve": None}
