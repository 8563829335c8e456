"""What the server's answers mean, in words of ours."""

from __future__ import annotations

import re

import pytest
from redis import exceptions as redis_errors
from redis._parsers.base import BaseParser

from taskctx._transport.answers import CLUSTERS_COMMANDS, DOCKETS_COMMANDS, is_lost, later, refused_command
from taskctx._transport.causes import Cause, cause_of
from tests.secrets import MARKER, secret

LATER = {
    "BUSY": "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING": "LOADING Valkey is loading the dataset in memory",
    "READONLY": "READONLY You can't write against a read only replica.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOSCRIPT": "NOSCRIPT No matching script.",
}

NEVER = (
    "OOM command not allowed when used memory > 'maxmemory'.",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOPERM User app has no permissions to run the 'get' command",
    "BUSYGROUP Consumer Group name already exists",
    "BUSYKEY Target key name already exists.",
    "ERR syntax error",
    "WRONGPASS invalid username-password pair or user is disabled.",
)


def answered(text: str) -> Exception:
    return BaseParser.parse_error(text)  # pyright: ignore[reportUnknownMemberType]


@pytest.mark.parametrize("code", LATER)
def test_answers_that_say_later(code: str) -> None:
    """Whether redis-py has a type for them or not; in a script the same."""
    assert later(answered(LATER[code])) == code
    assert later(answered(f"{LATER[code]} script: 1f, on @user_script:1.")) == code
    assert cause_of(answered(LATER[code])) is not None or code == "NOSCRIPT"


@pytest.mark.parametrize("text", NEVER)
def test_answers_that_say_no(text: str) -> None:
    """The same command gets the same answer, so that it is not sent again."""
    error = answered(text)
    assert later(error) is None
    assert not is_lost(error)


def test_no_answer() -> None:
    """It may have been done."""
    assert is_lost(redis_errors.ConnectionError())
    assert is_lost(redis_errors.TimeoutError())
    assert is_lost(ConnectionResetError())


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("NOPERM User app has no permissions to run the 'ttl' command", "TTL"),
        ("NOPERM this user has no permissions to run the 'ttl' command or its subcommand", "TTL"),
        ("NOPERM User app has no permissions to run the 'script|load' command", "SCRIPT LOAD"),
        (
            "ERR ACL failure in script: User app has no permissions to run the 'xadd' command script: 1f, on @u:1.",
            "XADD",
        ),
        ("ERR unknown command 'EVAL', with args beginning with: 'return 1' '0'", "EVAL"),
        ("ERR unknown command `EVAL`, with args beginning with: `return 1`", "EVAL"),
    ],
)
def test_a_refused_command_is_named(text: str, command: str) -> None:
    """The command is found in the errors of all versions of Redis and Valkey."""
    assert refused_command(answered(text)) == command
    assert f"refused the command {command}. " in str(cause_of(answered(text)))


def test_what_is_no_command_of_ours_is_not_named() -> None:
    """The server may quote anything there."""
    for text in (
        f"ERR unknown command '{secret('sent')}', with args beginning with: '{secret('value')}'",
        f"NOPERM User {secret('user')} has no permissions to run the '{secret('command')}' command",
        f"ERR syntax error near {secret('value')}",
    ):
        assert refused_command(answered(text)) is None
        assert not re.search(MARKER, str(cause_of(answered(text))))


def test_a_refused_key() -> None:
    """The server does not say which."""
    assert cause_of(answered("NOPERM No permissions to access a key")) is Cause.KEYS
    assert cause_of(answered("ERR ACL failure in script: No permissions to access a key")) is Cause.KEYS


def test_a_full_server() -> None:
    """It takes nothing until there is room again."""
    assert cause_of(answered("OOM command not allowed when used memory > 'maxmemory'.")) is Cause.FULL


def test_commands_are_named_once() -> None:
    """No command is in the lists twice."""
    assert len({*DOCKETS_COMMANDS, *CLUSTERS_COMMANDS}) == len(DOCKETS_COMMANDS) + len(CLUSTERS_COMMANDS)
