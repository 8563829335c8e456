"""What the environment says.  ``DOCKET_*`` are Docket's own variables, so that API and workers share them."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What both sides need.  Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="REPORTS_", frozen=True, hide_input_in_errors=True)

    docket_name: str = Field(default="reports", validation_alias="DOCKET_NAME")
    docket_url: str = Field(default="redis://localhost:6379/0", validation_alias="DOCKET_URL", repr=False)
    """With the server's password in it, where it has one."""

    account_url: str = "http://127.0.0.1:8000"
    """Where the account service answers; in this example it is the API itself."""

    keep: int = Field(default=600, ge=1)
    """How long reports are kept."""

    clean_up_every: float = Field(default=60.0, gt=0)


class ApiSettings(Settings):
    """The settings of the API alone: workers verify no tokens, so they do not get the key."""

    signing_key: SecretStr = Field(default=..., min_length=32)
    """Shared with the issuer of tokens (``python -c 'import secrets; print(secrets.token_hex(32))'``)."""
