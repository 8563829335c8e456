"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

URL_VARIABLE = "DOCKET_URL"
Url = Annotated[str, typer.Option(envvar=URL_VARIABLE, help="The Redis or Valkey server that dockets are on.")]
DEFAULT_URL = "redis://localhost:6379/0"

Metrics = Annotated[
    list[str] | None,
    typer.Option(help="A process's metrics endpoint, such as worker-1:9100; may be repeated.", show_default=False),
]
