"""Writes the secrets that the services read, each into a folder that only the services in need of it mount.

What is set in the environment (compose hands on what is in ``.env``) is written every time.  What is not is made up
once, at random, and kept: so ``docker compose up`` works from a fresh clone, and no secret is the same anywhere.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

DIRECTORY = Path("/secrets")
NAMES = {
    "VALKEY_PASSWORD": "valkey/password",
    "REPORTS_SIGNING_KEY": "signing/key",
    "GRAFANA_ADMIN_PASSWORD": "grafana/admin-password",
}
SHORTEST = 8
SHORTEST_KEY = 32


def write_all(directory: Path, environment: Mapping[str, str]) -> None:
    """Write each secret, and what is made of them.

    Raises:
        ValueError: one that was given is too short, or has a character that the server's configuration cannot have.
    """
    found = {name: _secret(directory / file, environment.get(name, "")) for name, file in NAMES.items()}
    for name, secret in found.items():
        _check(name, secret)
    password = found["VALKEY_PASSWORD"]
    _write(directory / "valkey/auth.conf", f"requirepass {password}\n")
    _write(directory / "valkey/url", f"redis://:{quote(password, safe='')}@valkey:6379/0")
    # the password last: where it is not the server's, the server ends, and starts with what is above
    for name, file in NAMES.items():
        _write(directory / file, found[name])


def _secret(file: Path, given: str) -> str:
    return given or (file.read_text() if file.exists() else secrets.token_hex(32))


def _check(name: str, secret: str) -> None:
    shortest = SHORTEST_KEY if name == "REPORTS_SIGNING_KEY" else SHORTEST
    if len(secret) < shortest:
        raise ValueError(f"{name} must have {shortest} characters or more")
    if not secret.isascii() or not secret.isprintable() or set(secret) & set(" \"'\\#"):
        raise ValueError(f"{name} must be ASCII without spaces, quotes, backslashes and #")


def _write(file: Path, text: str) -> None:
    """Replace the file whole.  Its readers have user ids of their own, and the folder is mounted by them only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.chmod(0o444)
    new.replace(file)


if __name__ == "__main__":
    try:
        write_all(DIRECTORY, os.environ)
    except ValueError as error:
        sys.exit(str(error))
