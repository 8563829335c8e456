"""``taskctx keygen``: a new encryption key, ready for ``TASKCTX_ENCRYPTION_KEYS``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from taskctx.settings.keyring import KEY_ID_RULE, generate_key, is_key_id

from ._problem import Problem


def keygen(
    key_id: Annotated[
        str | None,
        typer.Option("--id", help="The key's id; the current month by default.", show_default=False),
    ] = None,
) -> None:
    """Print only ``id:BASE64``, so that the output can be piped into a secret store."""
    if key_id is None:
        key_id = datetime.now(UTC).strftime("%Y-%m")
    if not is_key_id(key_id):
        raise Problem(f"the id {KEY_ID_RULE}", "Choose another with --id.")
    typer.echo(f"{key_id}:{generate_key()}")
