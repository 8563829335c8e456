"""The cause of a failed command, in fixed words: no text of a server, a resolver or a library is quoted.

redis-py raises the same ``ConnectionError`` for most causes; the exception behind it says more.
"""

from __future__ import annotations

import errno
import re
import ssl
from asyncio import CancelledError
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from socket import gaierror
from traceback import walk_tb

from redis import exceptions as redis_errors

from .answers import later, refused_command


class Cause(Enum):
    """What happened, and what to do about it.

    ``str()`` of a cause is two sentences without the last full stop, like a reason's explanation.
    """

    NAME = (
        "the Redis server's host name does not resolve",
        "Check the name in the docket's URL, and the DNS of this host",
    )
    REFUSED = (
        "nothing listens where the docket's URL points",
        "Check that the Redis server is up, and host and port in the URL",
    )
    UNREACHABLE = (
        "there is no way to the Redis server's host from here",
        "Check routes, firewalls, and the host in the docket's URL",
    )
    CLOSED = (
        "the server closed the connection as it was opened",
        (
            "It may speak TLS, so that the docket's URL must begin with rediss://, or want a client's certificate by "
            "TLS (ssl_certfile and ssl_keyfile in the URL); or it is about to stop"
        ),
    )
    FULL_HOUSE = (
        "the Redis server has as many clients as it takes",
        "Raise its maxclients, or find who keeps connections open",
    )
    NOT_REDIS = (
        "what answers does not speak Redis's protocol",
        "Check host and port in the docket's URL, and whether it must begin with rediss://",
    )
    LOGIN = (
        "the Redis server does not let us in",
        "Check user and password in the docket's URL",
    )
    NO_TLS = (
        "what answers does not speak TLS",
        "Check the port in the docket's URL, or have the URL begin with redis://",
    )
    FILE = (
        "a file that the docket's URL names cannot be opened",
        "Check ssl_ca_certs, ssl_certfile, ssl_keyfile or the socket's path in it, and who may read them",
    )
    FILE_CONTENT = (
        "a file that the docket's URL names does not hold the certificate or key that it should",
        "Check ssl_ca_certs, ssl_certfile and ssl_keyfile: PEM files, and the key that belongs to the certificate",
    )
    UNTRUSTED = (
        "the Redis server's certificate is not signed by an authority that this process trusts",
        "Name that authority's certificate in the docket's URL: rediss://HOST:PORT/0?ssl_ca_certs=/path/to/ca.pem",
    )
    NOT_STRICT = (
        "the Redis server's certificate, or its authority's, breaks RFC 5280, which Python 3.13 and later check",
        "Find the rule with `openssl verify -x509_strict -CAfile ca.pem server.pem`, and issue the certificate again",
    )
    EXPIRED = (
        "the Redis server's certificate is not valid today",
        "Renew it, or set the clock of this host",
    )
    OTHER_HOST = (
        "the Redis server's certificate is for another host name than the docket's URL has",
        "Use a name that is in the certificate, or have one issued for this name",
    )
    CLIENT_CERTIFICATE = (
        "the Redis server refused this client's certificate, or wants one",
        "Name one that it trusts in the docket's URL: ssl_certfile=/path/to/client.pem&ssl_keyfile=/path/to/client.key",
    )
    TLS = (
        "no TLS connection with the Redis server came about",
        "Compare the TLS versions and ciphers of both sides",
    )
    FULL = (
        "the Redis server's memory is full, and it refuses writes",
        "Give it memory (maxmemory), or work off the backlog",
    )
    REPLICA = (
        "the Redis server is a replica, and refuses writes",
        "Name the primary in the docket's URL, or use a redis+sentinel:// URL",
    )
    BUSY = (
        "the Redis server was busy with somebody's script or function until the time was over",
        "Find who runs it (SLOWLOG), or raise backend_timeout",
    )
    LOADING = (
        "the Redis server has started, and was loading its data until the time was over",
        "Wait, or raise backend_timeout",
    )
    NO_PRIMARY = (
        "the Redis server is a replica that has lost its primary",
        "Bring the primary back, or fail over to a replica",
    )
    NO_REPLICAS = (
        "the Redis server has lost replicas that it must have, and refuses writes",
        "Bring them back, or look at its min-replicas-to-write",
    )
    CLUSTER = (
        "the Redis cluster is not whole, or is being changed",
        "Check its nodes and slots (CLUSTER INFO), and wait for what moves",
    )
    KEYS = (
        "the Redis server's ACL keeps this user from a key or a channel",
        "Allow the docket's, as the ACL rules in docs/deploy.md do",
    )
    DATABASE = (
        "the Redis server has no database of the number in the docket's URL",
        "Check the number at the URL's end",
    )

    @property
    def what(self) -> str:
        return self.value[0]

    @property
    def do(self) -> str:
        return self.value[1]

    def __str__(self) -> str:
        return f"{self.what}. {self.do}"


@dataclass(frozen=True, slots=True)
class RefusedCommand:
    """A command that the user may not send, or that the server does not know.  Used like a :class:`Cause`."""

    command: str
    do: str = "Allow it to the user in the docket's URL: docs/deploy.md has all ACL rules"

    @property
    def what(self) -> str:
        return f"the Redis server refused the command {self.command}"

    __str__ = Cause.__str__


def cause_of(failure: BaseException) -> Cause | RefusedCommand | None:
    """The cause of a Redis client's error; None where the cause is unknown."""
    errors = list(_behind(failure))
    for error in errors:
        if (cause := _cause(error)) is not None:
            return cause
    return Cause.CLOSED if any(map(_broke_as_it_was_opened, errors)) else None


def _behind(failure: BaseException) -> Iterator[BaseException]:
    """An exception and the exceptions behind it that come from the client, the operating system or a deadline.

    An exception of another kind further behind is one that the calling code was handling.
    """
    error: BaseException | None = failure
    while isinstance(error, redis_errors.RedisError | redis_errors.RedisClusterException | OSError | CancelledError):
        yield error
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            return
        error = error.__cause__ or error.__context__


def _cause(error: BaseException) -> Cause | RefusedCommand | None:
    match error:
        case ssl.SSLError():
            return _of_tls(error)
        case gaierror():
            return Cause.NAME
        case OSError():
            return _of_system(error)
        case redis_errors.AuthenticationError():
            return Cause.LOGIN
        case redis_errors.OutOfMemoryError():
            return Cause.FULL
        case redis_errors.ReadOnlyError():
            return Cause.REPLICA
        case redis_errors.InvalidResponse():
            return Cause.NOT_REDIS
        case redis_errors.RedisError():
            return _of_answer(error)
        case _:
            return None


_LATER = {
    "BUSY": Cause.BUSY,
    "LOADING": Cause.LOADING,
    "MASTERDOWN": Cause.NO_PRIMARY,
    "NOREPLICAS": Cause.NO_REPLICAS,
    "CLUSTERDOWN": Cause.CLUSTER,
    "TRYAGAIN": Cause.CLUSTER,
}


def _of_answer(error: redis_errors.RedisError) -> Cause | RefusedCommand | None:
    """The cause of an error that has no type of its own in redis-py."""
    said = str(error)
    if (command := refused_command(error)) is not None:
        return RefusedCommand(command)
    if isinstance(error, redis_errors.NoPermissionError) or "No permissions to access a" in said:
        return Cause.KEYS
    if (code := later(error)) is not None:
        return _LATER.get(code)
    if said.startswith("max number of clients"):
        return Cause.FULL_HOUSE
    if said.startswith(("DB index is out of range", "Invalid Database")):
        return Cause.DATABASE
    return None


_ERRNO = re.compile(r"\[Errno (\d+)\]")
_NO_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM}
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}


def _of_system(error: OSError) -> Cause | None:
    # when several addresses fail, asyncio raises one error without a number, and quotes the errors in its text
    numbers = {error.errno} if error.errno is not None else set(map(int, _ERRNO.findall(str(error))))
    if errno.ECONNREFUSED in numbers:
        return Cause.REFUSED
    if numbers & _NO_WAY:
        return Cause.UNREACHABLE
    return Cause.FILE if numbers & _NO_FILE else None


def _broke_as_it_was_opened(error: BaseException) -> bool:
    """Whether a connection broke in its first exchange (redis-py's handshake)."""
    names = (frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__))
    return isinstance(error, redis_errors.ConnectionError) and any(name.startswith("on_connect") for name in names)


_OF_VERIFY_CODE = {9: Cause.EXPIRED, 10: Cause.EXPIRED, 62: Cause.OTHER_HOST, 64: Cause.OTHER_HOST} | dict.fromkeys(
    range(80, 95), Cause.NOT_STRICT
)
"""By OpenSSL's error numbers (X509_V_ERR_...): not yet valid and expired; another host name and another address; checks
that X509_V_FLAG_X509_STRICT adds."""


def _of_tls(error: ssl.SSLError) -> Cause:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _OF_VERIFY_CODE.get(error.verify_code, Cause.UNTRUSTED)
    reason = error.reason or ""
    if error.library in {"X509", "PEM"} or reason in {"PEM_LIB", "EE_KEY_TOO_SMALL", "KEY_VALUES_MISMATCH"}:
        return Cause.FILE_CONTENT
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING"}:
        return Cause.NO_TLS
    if "ALERT" in reason and re.search("CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE", reason):
        return Cause.CLIENT_CERTIFICATE
    return Cause.TLS
