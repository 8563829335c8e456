"""Reading all there is to be read, as bytes to be searched."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

END = b"the-end-of-the-run"
MEDIA_TYPES = ("text/plain", "application/openmetrics-text; version=1.0.0")


@dataclass
class Wiretap:
    """What a connection of the attacker's receives, byte for byte."""

    connection: socket.socket
    received: bytearray

    def record(self) -> None:
        while chunk := self.connection.recv(1 << 16):
            self.received += chunk


@contextmanager
def wiretap(port: int, command: bytes) -> Generator[Wiretap]:
    """Send a command after which the server does not stop talking, and listen."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(command + b"\r\n")
        tap = Wiretap(connection, bytearray())
        thread = threading.Thread(target=tap.record)
        thread.start()
        try:
            yield tap
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()


def make_all_readable(redis: Any) -> None:
    """Have the server write down and keep what it can; nothing of it compressed, so that it can be searched."""
    for name, value in {
        "rdbcompression": "no",
        "aof-use-rdb-preamble": "no",
        "appendonly": "yes",
        "slowlog-log-slower-than": "0",
        "slowlog-max-len": "100000",
    }.items():
        redis.config_set(name, value)


def read_server(redis: Any, directory: Path, commands: Wiretap, channels: Wiretap) -> dict[str, bytes]:
    """Every key, every command and message that there was, every file of the server's, and what it tells of itself."""
    redis.publish("any", END)
    _until_all_arrived(commands, channels)
    keys = b"\n".join(_flat([dump(redis, key) for key in redis.keys("*")]))
    about = [
        redis.execute_command(*command.split()) for command in ("SLOWLOG GET -1", "CLIENT LIST", "INFO everything")
    ]
    redis.save()
    files = {path.name: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}
    return {
        "keys": keys,
        "commands": bytes(commands.received),
        "channels": bytes(channels.received),
        "about": b"\n".join(_flat(about)),
        "dump": files.pop("dump.rdb"),
        "journal": b"\n".join(content for name, content in files.items() if "aof" in name),
        "other files": b"\n".join(content for name, content in files.items() if "aof" not in name),
    }


def _until_all_arrived(*taps: Wiretap) -> None:
    deadline = time.monotonic() + 20
    while not all(END in tap.received for tap in taps):
        assert time.monotonic() < deadline, "a wiretap did not hear the end"
        time.sleep(0.01)


def dump(redis: Any, key: bytes) -> list[Any]:
    """A key with all that is in it."""
    kind = redis.type(key).decode()
    everything = {
        "string": lambda: redis.get(key),
        "hash": lambda: redis.hgetall(key),
        "list": lambda: redis.lrange(key, 0, -1),
        "set": lambda: redis.smembers(key),
        "zset": lambda: redis.zrange(key, 0, -1, withscores=True),
        "stream": lambda: [redis.xrange(key), redis.execute_command("XINFO", "STREAM", key, "FULL")],
    }
    return [key, everything[kind]()]


def _flat(value: Any) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for name, each in cast("dict[Any, Any]", value).items():
            yield from (*_flat(name), *_flat(each))
    elif isinstance(value, list | tuple | set):
        for each in cast("Iterable[Any]", value):
            yield from _flat(each)
    else:
        yield str(value).encode()


def scrape(port: int) -> bytes:
    """A metrics endpoint, in both formats."""
    texts: list[bytes] = []
    for media_type in MEDIA_TYPES:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": media_type})
        with urllib.request.urlopen(request, timeout=10) as answer:
            texts.append(answer.read())
    return b"\n".join(texts)


def process_list(pids: Iterable[int]) -> bytes:
    """The command lines of processes, as ``ps`` shows them to every user of the machine."""
    if Path("/proc/self/cmdline").exists():  # slim images have no ps
        return b"\n".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
    command = ["ps", "-ww", "-o", "args=", "-p", ",".join(str(pid) for pid in pids)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def connect(url: str) -> Any:
    return Redis.from_url(url)  # pyright: ignore[reportUnknownMemberType]
