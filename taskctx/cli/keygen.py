"""``taskctx keygen``: a new encryption key, ready for ``TASKCTX_ENCRYPTION_KEYS``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from taskctx._keyring import generate_key, parse_keyring


def keygen(
    key_id: Annotated[
        str | None,
        typer.Option("--id", help="The key's id; the current month by default.", show_default=False),
    ] = None,
) -> None:
    """Prints ``id:BASE64``, and nothing else, so that it can go straight into a secret store."""
    entry = f"{key_id or datetime.now(UTC).strftime('%Y-%m')}:{generate_key()}"
    try:
        parse_keyring(entry)
    except ValueError as error:
        typer.echo(f"{error}. Choose another with --id.", err=True)
        raise typer.Exit(2) from None
    typer.echo(entry)
