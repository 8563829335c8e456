"""Finding words in bytes, however they are written there."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

Findings = dict[str, set[str]]
"""For each word that was found, the ways in which it is written."""

DEPTH = 4
"""Layers that are taken off: JSON in a percent-encoded form in base64, say."""

MOST_INFLATED = 1 << 20

_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"\\+(?:x|u00)([0-9A-Fa-f]{2})")
_HEX = re.compile(rb"[0-9A-Fa-f]{12,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}")
_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")
_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_PADDING = (b"", b"A==", b"==", b"=")


def find(blob: bytes, words: Mapping[str, bytes]) -> Findings:
    """The words, by name, that are in ``blob`` or in what is wrapped in it, forwards or backwards."""
    findings: Findings = defaultdict(set)
    for layers, view in _views(blob, (), DEPTH):
        for name, word in words.items():
            if word in view:
                findings[name].add(" in ".join(("plain", *layers)))
            if word[::-1] in view:
                findings[name].add(" in ".join(("reversed", *layers)))
    return dict(findings)


def _views(blob: bytes, layers: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """A blob, and what is wrapped in it."""
    yield layers, blob
    for name, unwrap in _WRAPPINGS.items() if depth else ():
        inside = unwrap(blob)
        if inside and inside != blob:
            yield from _views(inside, (name, *layers), depth - 1)


def _unquoting(character: re.Pattern[bytes]) -> Callable[[bytes], bytes]:
    """Gives the parts of a blob that have such characters in them, with what they stand for; each part once."""

    def unquote(blob: bytes) -> bytes:
        quoted = {part for part in blob.replace(b'"', b" ").split() if character.search(part)}
        return b"\n".join(character.sub(lambda found: bytes((int(found[1], 16),)), part) for part in quoted)

    return unquote


def _from_hex(blob: bytes) -> bytes:
    """Wherever the first byte begins."""
    runs = {run[start:] for run in _HEX.findall(blob) for start in range(2)}
    return b"\n".join(binascii.unhexlify(run[: len(run) // 2 * 2]) for run in runs)


def _from_base64(blob: bytes) -> bytes:
    """In either alphabet, and wherever the first group begins."""
    runs = {run[start:].translate(_STANDARD_ALPHABET) for run in _BASE64.findall(blob) for start in range(4)}
    return b"\n".join(base64.b64decode(run + _PADDING[len(run) % 4]) for run in runs)


def _from_utf_16(blob: bytes) -> bytes:
    """Or from UTF-32, of either byte order."""
    return blob.replace(b"\0", b"")


def _inflated(blob: bytes) -> bytes:
    view = memoryview(blob)
    return b"\n".join(_inflate(view[found.start() :][:MOST_INFLATED]) for found in _COMPRESSED.finditer(blob))


def _inflate(compressed: memoryview) -> bytes:
    """What can be inflated before the data ends or makes no sense."""
    inflater, inflated = zlib.decompressobj(wbits=47), b""
    try:
        for start in range(0, len(compressed), 64):
            if inflater.eof or len(inflated) > MOST_INFLATED:
                break
            inflated += inflater.decompress(compressed[start : start + 64], MOST_INFLATED)
    except zlib.error:
        pass  # what came before stands
    return inflated


_WRAPPINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "percent": _unquoting(_PERCENT),
    "escapes": _unquoting(_ESCAPE),
    "hex": _from_hex,
    "base64": _from_base64,
    "UTF-16": _from_utf_16,
    "compressed": _inflated,
}

WRITINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "base64-0": base64.b64encode,
    "base64-1": lambda text: base64.b64encode(b"?" + text),
    "base64-2": lambda text: base64.b64encode(b"??" + text),
    "base64url-0": base64.urlsafe_b64encode,
    "base64url-1": lambda text: base64.urlsafe_b64encode(b"?" + text),
    "base64url-2": lambda text: base64.urlsafe_b64encode(b"??" + text),
    "hex": binascii.hexlify,
    "hex-upper": lambda text: binascii.hexlify(text).upper(),
    "percent": lambda text: b"".join(b"%%%02X" % byte for byte in text),
    "json": lambda text: b"".join(b"\\u%04x" % byte for byte in text),
    "repr": lambda text: b"".join(b"\\x%02x" % byte for byte in text),
    "reversed": lambda text: text[::-1],
    "utf16-le": lambda text: base64.b64encode(text.decode().encode("utf-16-le")),
    "utf16-be": lambda text: base64.b64encode(text.decode().encode("utf-16-be")),
    "zlib": lambda text: base64.b64encode(zlib.compress(text)),
    "gzip": lambda text: base64.b64encode(gzip.compress(text)),
}
"""How a caller may write a secret, in characters that a header can have; named as the header is."""
