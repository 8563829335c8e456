"""From a snapshot's JSON to the bytes in Redis, and back."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from taskctx._snapshot.codec import (
    MAGIC,
    NONCE_BYTES,
    TAG_BYTES,
    PlaintextCodec,
    SealingCodec,
    SnapshotCodec,
    codec_for,
    is_sealed,
    known_key_id,
    sealing_key_id,
)
from taskctx.errors import Reason, SnapshotError
from taskctx.settings import load_settings
from taskctx.settings.keyring import Keyring
from tests.secrets import secret

JSON = f'{{"session_id": "{secret("session")}"}}'.encode()
PLACE = "docket:taskctx:task:anon:1:snapshot"
NEW, OLD, FOREIGN = bytes(range(32)), b"o" * 32, b"f" * 32


def codec(keys: dict[str, bytes], *, accept_plaintext: bool = False) -> SealingCodec:
    return SealingCodec(Keyring(keys), accept_plaintext=accept_plaintext)


ROTATING = codec({"new": NEW, "old": OLD})
BEFORE = codec({"old": OLD})


def reason(sealing: SnapshotCodec, stored: bytes, place: str = PLACE) -> Reason:
    with pytest.raises(SnapshotError) as refused:
        sealing.decode(stored, place)
    # nothing that cryptography or Python said of the value shows in a traceback
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    return refused.value.reason


@given(st.binary(max_size=2000), st.text(min_size=1, max_size=200))
def test_what_was_sealed_opens(plaintext: bytes, place: str) -> None:
    """Whatever it is, and wherever it is stored."""
    place = place.encode("utf-8", "replace").decode()
    sealed = ROTATING.encode(plaintext, place)
    assert ROTATING.decode(sealed, place) == plaintext
    assert len(sealed) == len(MAGIC) + 1 + len("new") + NONCE_BYTES + len(plaintext) + TAG_BYTES


def test_a_sealed_value_shows_nothing() -> None:
    """And the same snapshot is never sealed to the same bytes."""
    first, second = ROTATING.encode(JSON, PLACE), ROTATING.encode(JSON, PLACE)
    assert first != second
    assert b"session" not in first
    assert is_sealed(first)
    assert sealing_key_id(first) == "new"


def test_the_form_of_a_sealed_value() -> None:
    """It is fixed: processes of other versions read it, and write it."""
    header, nonce = b"TCX1" + b"\x03new", bytes(range(12))
    stored = header + nonce + AESGCM(NEW).encrypt(nonce, JSON, header + PLACE.encode())
    assert ROTATING.decode(stored, PLACE) == JSON
    assert ROTATING.encode(JSON, PLACE).startswith(header)


@pytest.mark.parametrize("accept_plaintext", [False, True])
def test_an_envelope_of_another_version_is_known_as_one(accept_plaintext: bool) -> None:
    """With keys or without: the reason says to upgrade, not that something is damaged."""
    for each in (PlaintextCodec(), codec({"new": NEW}, accept_plaintext=accept_plaintext)):
        assert reason(each, b"TCX2" + bytes(100)) is Reason.SCHEMA_UNSUPPORTED


def test_what_is_not_an_envelope_has_no_key_id() -> None:
    """Plaintext, of any length, and what is cut short: no part of it is taken for an id."""
    for stored in (b"", b'{"a": "' + b"b" * 300 + b'"}', MAGIC, ROTATING.encode(b"", PLACE)[:-1]):
        assert sealing_key_id(stored) is None


def test_only_ids_of_the_keyring_are_known() -> None:
    """Telemetry shows these; anything else may be what somebody wrote to the server."""
    ours = load_settings(encryption_keys=f"new:{base64.b64encode(NEW).decode()}")
    assert known_key_id(ROTATING.encode(JSON, PLACE), ours) == "new"
    assert known_key_id(BEFORE.encode(JSON, PLACE), ours) is None
    assert known_key_id(JSON, ours) is None
    assert known_key_id(ROTATING.encode(JSON, PLACE), load_settings()) is None


@pytest.mark.parametrize("accept_plaintext", [False, True])
def test_the_codec_of_the_settings(accept_plaintext: bool) -> None:
    """With keys it seals, and reads plaintext where that is accepted; without keys it does neither."""
    sealing = codec_for(
        load_settings(encryption_keys=f"new:{base64.b64encode(NEW).decode()}", accept_plaintext=accept_plaintext)
    )
    assert ROTATING.decode(sealing.encode(JSON, PLACE), PLACE) == JSON
    if accept_plaintext:
        assert sealing.decode(JSON, PLACE) == JSON
    else:
        assert reason(sealing, JSON) is Reason.PLAINTEXT_REFUSED
    plain = codec_for(load_settings(accept_plaintext=accept_plaintext))
    assert plain.decode(plain.encode(JSON, PLACE), PLACE) == JSON


def test_rotation() -> None:
    """The first key seals; a value of the other still opens; the old process cannot open the new one's."""
    assert ROTATING.decode(BEFORE.encode(JSON, PLACE), PLACE) == JSON
    assert reason(BEFORE, ROTATING.encode(JSON, PLACE)) is Reason.DECRYPT_UNKNOWN_KEY


def test_the_same_id_with_another_key_does_not_open() -> None:
    """Two processes whose keyrings were mixed up."""
    assert reason(codec({"new": FOREIGN}), ROTATING.encode(JSON, PLACE)) is Reason.DECRYPT_FAILED


@pytest.mark.parametrize(
    "elsewhere",
    [
        "docket:taskctx:task:anon:2:snapshot",
        "docket:taskctx:task:auth:anon:1:snapshot",
        "other:taskctx:task:anon:1:snapshot",
        "{docket}:taskctx:task:anon:1:snapshot",
    ],
)
def test_a_value_copied_elsewhere_does_not_open(elsewhere: str) -> None:
    """Under another task's key, another scope's, another docket's."""
    assert reason(ROTATING, ROTATING.encode(JSON, PLACE), elsewhere) is Reason.DECRYPT_FAILED


def test_no_bit_can_be_flipped() -> None:
    """Anywhere: magic, length, key id, nonce, ciphertext, tag."""
    sealed = ROTATING.encode(JSON, PLACE)
    expected = {Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY, Reason.MALFORMED, Reason.SCHEMA_UNSUPPORTED}
    for position in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[position] ^= 1 << bit
            assert reason(ROTATING, bytes(altered)) in expected


def test_nothing_can_be_cut_off_or_added() -> None:
    """At either end; what is too short for an envelope included."""
    sealed = ROTATING.encode(JSON, PLACE)
    for length in range(len(MAGIC), len(sealed)):
        assert reason(ROTATING, sealed[:length]) in {Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY}
    assert reason(ROTATING, sealed + b"\0") is Reason.DECRYPT_FAILED


@pytest.mark.parametrize("key_id", [b"", b"\xff", "ä".encode()])
def test_an_id_that_no_key_can_have_is_damage(key_id: bytes) -> None:
    """Nobody is sent to look for that key."""
    assert reason(ROTATING, MAGIC + bytes((len(key_id),)) + key_id + bytes(100)) is Reason.DECRYPT_FAILED


def test_the_key_id_is_bound_too() -> None:
    """One key under two ids does not make their values interchangeable."""
    twice = codec({"new": NEW, "wen": NEW})
    sealed = twice.encode(JSON, PLACE)
    assert reason(twice, sealed.replace(b"new", b"wen", 1)) is Reason.DECRYPT_FAILED


def test_a_downgrade_is_refused() -> None:
    """Plaintext in place of a sealed value, unless one migrates."""
    assert reason(ROTATING, JSON) is Reason.PLAINTEXT_REFUSED
    assert codec({"new": NEW}, accept_plaintext=True).decode(JSON, PLACE) == JSON


def test_without_keys_a_sealed_value_is_known_as_one() -> None:
    """The reason says that a key is missing, not that the value is damaged."""
    assert reason(PlaintextCodec(), ROTATING.encode(JSON, PLACE)) is Reason.DECRYPT_UNKNOWN_KEY


@given(st.binary())
def test_any_bytes_are_refused_or_read(stored: bytes) -> None:
    """No input does anything else."""
    for each in (ROTATING, PlaintextCodec(), codec({"new": NEW}, accept_plaintext=True)):
        try:
            each.decode(stored, PLACE)
        except SnapshotError:
            continue
        assert stored.startswith(b"{")


@given(st.binary(max_size=200))
def test_any_envelope_is_refused(rest: bytes) -> None:
    """Nobody makes one that opens without a key."""
    assert reason(ROTATING, MAGIC + rest) in {Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY}


def test_seals_and_opens_are_counted_by_key(registry: CollectorRegistry) -> None:
    """An id that is not in the keyring is counted as unknown, whatever it says."""

    def count(operation: str, key_id: str, outcome: str) -> float | None:
        labels = {"operation": operation, "key_id": key_id, "outcome": outcome}
        return registry.get_sample_value("taskctx_crypto_operations_total", labels)

    sealed = ROTATING.encode(JSON, PLACE)
    ROTATING.decode(sealed, PLACE)
    ROTATING.decode(BEFORE.encode(JSON, PLACE), PLACE)
    reason(ROTATING, sealed[:-1] + bytes((sealed[-1] ^ 1,)))
    reason(ROTATING, codec({"foreign": FOREIGN}).encode(JSON, PLACE))
    reason(PlaintextCodec(), sealed)
    assert count("seal", "new", "ok") == 1
    assert count("open", "new", "ok") == 1
    assert count("open", "old", "ok") == 1
    assert count("open", "new", "failed") == 1
    assert count("open", "unknown", "failed") == 2
    assert count("open", "foreign", "failed") is None


@pytest.mark.parametrize("length", [len(MAGIC), len(MAGIC) + 1, len(MAGIC) + 4, len(MAGIC) + 4 + NONCE_BYTES])
@pytest.mark.parametrize("each", [ROTATING, PlaintextCodec()], ids=["with keys", "without keys"])
def test_an_envelope_that_is_cut_short_is_counted(
    each: SealingCodec | PlaintextCodec, length: int, registry: CollectorRegistry
) -> None:
    """As unknown: what is left of its key id may be anything."""
    reason(each, ROTATING.encode(JSON, PLACE)[:length])
    labels = {"operation": "open", "key_id": "unknown", "outcome": "failed"}
    assert registry.get_sample_value("taskctx_crypto_operations_total", labels) == 1


def test_a_key_id_that_is_not_text_is_counted(registry: CollectorRegistry) -> None:
    """As unknown, and refused as altered."""
    assert reason(ROTATING, MAGIC + b"\x03\xff\xfe\xfd" + bytes(40)) is Reason.DECRYPT_FAILED
    labels = {"operation": "open", "key_id": "unknown", "outcome": "failed"}
    assert registry.get_sample_value("taskctx_crypto_operations_total", labels) == 1
