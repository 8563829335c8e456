"""The report of one run of a task, which the tasks write and the checks read."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel


class Kind(StrEnum):
    """How a request's task is submitted."""

    NOW = "now"
    AHEAD = "ahead"
    RETRIED = "retried"
    PERPETUAL = "perpetual"


SERVER = "server"
"""The worker inside the server's process, which finds live sessions and servers."""


class Context(BaseModel, frozen=True):
    """A caller's context, as it was sent or as a task saw it.  ``repr`` shows none of it.

    Attributes:
        token: the digest of the access token.
        origin_trace: the trace id of the request, from the restored trace context.
        origin_linked: whether the task's span links to that trace.
        live_session: the id of the live session object, where the task found it.
        live_server: whether the task found the live server object.
    """

    token: str | None = None
    client_id: str | None = None
    subject: str | None = None
    oauth_scopes: list[str] = []
    task_scope: str | None = None
    task_id: str | None = None
    headers: dict[str, str] = {}
    request_id: str | None = None
    session_id: str | None = None
    baggage: dict[str, str] = {}
    origin_trace: str | None = None
    origin_linked: bool = True
    live_session: str | None = None
    live_server: bool = False

    def __repr_args__(self) -> list[tuple[str, object]]:
        return []


class Sighting(BaseModel, frozen=True):
    """The report of one run; a perpetual task's runs and a retried task's attempts count from 1."""

    number: int
    run: int = 1
    attempt: int = 1
    worker: str
    context: Context
