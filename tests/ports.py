"""Ports for the servers that tests start, which nobody else takes before the server does.

A port that the kernel gives (``bind`` to port 0) is free only at that instant: it is out of the range from which the
kernel serves every outgoing connection of the machine, and a server that starts a second later finds it taken.
These are out of another range, and each is ours alone, among all test processes, until this process ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_claims: list[int] = []
"""Open file descriptors: each holds the lock on one port's file; the kernel lets go of it when the process ends."""


def free_port() -> int:
    """A port that is free on every interface, and stays so but for the server that it is meant for."""
    ports = _candidates()
    for port in random.sample(ports, len(ports)):
        if _claim(port):
            return port
    message = "every port that tests may use is taken: end the servers of earlier runs"
    raise RuntimeError(message)


def _candidates() -> range:
    """Above the services of the machine, and outside of what the kernel gives to outgoing connections."""
    try:
        first, last = map(int, EPHEMERAL.read_text().split())
    except OSError:
        first, last = 49_152, 65_535  # RFC 6335's, which macOS keeps to
    below, above = range(10_000, first), range(last + 1, 65_536)
    return max(below, above, key=len)


def _claim(port: int) -> bool:
    folder = Path(tempfile.gettempdir()) / f"taskctx-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    claim = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError:
        os.close(claim)
        return False
    _claims.append(claim)
    return True
