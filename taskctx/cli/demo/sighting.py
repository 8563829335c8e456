"""What one run of a task saw, as it reports it: the shape that the tasks and the checks share."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """How a request's task is submitted."""

    NOW = "now"
    AHEAD = "ahead"
    RETRIED = "retried"
    PERPETUAL = "perpetual"


SERVER = "server"
"""The worker inside the server's process, where live sessions and servers can be found."""


class Context(BaseModel):
    """A caller's context: as sent, or as a task saw it.  ``repr`` shows nothing of it.

    Attributes:
        token: digest of the access token.
        origin_trace: trace id of the request, from the restored trace context.
        origin_linked: the task's span links to that trace.
        live_session: id of the live session object, where the task found it.
        live_server: the task found the live server object.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    token: str | None = Field(default=None, repr=False)
    client_id: str | None = Field(default=None, repr=False)
    subject: str | None = Field(default=None, repr=False)
    oauth_scopes: list[str] = Field(default_factory=list[str], repr=False)
    task_scope: str | None = Field(default=None, repr=False)
    task_id: str | None = Field(default=None, repr=False)
    headers: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    request_id: str | None = Field(default=None, repr=False)
    session_id: str | None = Field(default=None, repr=False)
    baggage: dict[str, str] = Field(default_factory=dict[str, str], repr=False)
    origin_trace: str | None = Field(default=None, repr=False)
    origin_linked: bool = Field(default=True, repr=False)
    live_session: str | None = Field(default=None, repr=False)
    live_server: bool = Field(default=False, repr=False)


class Sighting(BaseModel):
    """One run's report.

    Attributes:
        number: of the request.
        run: of a perpetual task, from 1.
        attempt: of a retried task, from 1.
        worker: name of the worker that ran it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    number: int
    run: int = 1
    attempt: int = 1
    worker: str
    context: Context
