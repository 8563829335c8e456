"""From a snapshot's JSON to the bytes in Redis, and back."""

from __future__ import annotations

import base64

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from taskctx._runtime import SnapshotCodec
from taskctx._snapshot.codec import (
    MAGIC,
    NONCE_BYTES,
    SEALED_AS_TEXT,
    TAG_BYTES,
    PlaintextCodec,
    SealingCodec,
    as_text,
    beginning_from_text,
    from_text,
    is_fernet,
    is_sealed,
    is_sealed_as_text,
    make_codec,
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
    """A sealed value opens under its key, whatever both contain."""
    place = place.encode("utf-8", "replace").decode()
    sealed = ROTATING.encode(plaintext, place)
    assert ROTATING.decode(sealed, place) == plaintext
    assert len(sealed) == len(MAGIC) + 1 + len("new") + NONCE_BYTES + len(plaintext) + TAG_BYTES


def test_a_sealed_value_shows_nothing() -> None:
    """A sealed value has no plain text, and sealing twice gives different bytes."""
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
    """Telemetry shows the ids of the keyring only: another id may be any text that was written to the server."""
    ours = codec({"new": NEW})
    assert ours.known_key_id(ROTATING.encode(JSON, PLACE)) == "new"
    assert ours.known_key_id(BEFORE.encode(JSON, PLACE)) is None
    assert ours.known_key_id(JSON) is None
    assert PlaintextCodec().known_key_id(ROTATING.encode(JSON, PLACE)) is None
    assert ROTATING.known_key_id(BEFORE.encode(JSON, PLACE)) == "old"


def test_what_is_too_short_for_an_envelope_is_sealed_with_no_key() -> None:
    """A value that was cut short has no known key id."""
    whole = ROTATING.encode(b"", PLACE)
    assert ROTATING.known_key_id(whole) == "new"
    for length in range(len(whole)):
        assert ROTATING.known_key_id(whole[:length]) is None


@given(st.binary(max_size=200))
def test_the_known_key_id_is_the_one_it_says(rest: bytes) -> None:
    """If the keyring has it, and else none."""
    said = sealing_key_id(MAGIC + rest)
    assert ROTATING.known_key_id(MAGIC + rest) == (said if said in ("new", "old") else None)


@pytest.mark.parametrize("accept_plaintext", [False, True])
def test_the_codec_of_the_settings(accept_plaintext: bool) -> None:
    """With keys it seals, and reads plaintext where that is accepted; without keys it does neither."""
    keyring = load_settings(encryption_keys=f"new:{base64.b64encode(NEW).decode()}").keyring
    sealing = make_codec(keyring, accept_plaintext=accept_plaintext)
    assert ROTATING.decode(sealing.encode(JSON, PLACE), PLACE) == JSON
    if accept_plaintext:
        assert sealing.decode(JSON, PLACE) == JSON
    else:
        assert reason(sealing, JSON) is Reason.PLAINTEXT_REFUSED
    plain = make_codec(load_settings().keyring, accept_plaintext=accept_plaintext)
    assert plain.decode(plain.encode(JSON, PLACE), PLACE) == JSON


def test_rotation() -> None:
    """The first key seals; a value of the other still opens; the old process cannot open the new one's."""
    assert ROTATING.decode(BEFORE.encode(JSON, PLACE), PLACE) == JSON
    assert reason(BEFORE, ROTATING.encode(JSON, PLACE)) is Reason.DECRYPT_UNKNOWN_KEY


def test_the_same_id_with_another_key_does_not_open() -> None:
    """A value does not open with another key under the same id."""
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
    """A sealed value does not open with bytes missing or added at its end."""
    sealed = ROTATING.encode(JSON, PLACE)
    for length in range(len(MAGIC), len(sealed)):
        assert reason(ROTATING, sealed[:length]) in {Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY}
    assert reason(ROTATING, sealed + b"\0") is Reason.DECRYPT_FAILED


@pytest.mark.parametrize("key_id", [b"", b"\xff", "ä".encode()])
def test_an_id_that_no_key_can_have_is_damage(key_id: bytes) -> None:
    """There is no sending anyone to look for that key."""
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
    """None opens that was made without a key."""
    assert reason(ROTATING, MAGIC + rest) in {Reason.DECRYPT_FAILED, Reason.DECRYPT_UNKNOWN_KEY}


@pytest.mark.parametrize("length", [len(MAGIC), len(MAGIC) + 1, len(MAGIC) + 4, len(MAGIC) + 4 + NONCE_BYTES])
def test_an_envelope_that_is_cut_short_is_damage(length: int) -> None:
    """It is damaged for a process with keys, and sealed with an unknown key for a process without."""
    cut_short = ROTATING.encode(JSON, PLACE)[:length]
    assert reason(ROTATING, cut_short) is Reason.DECRYPT_FAILED
    assert reason(PlaintextCodec(), cut_short) is Reason.DECRYPT_UNKNOWN_KEY


@given(st.binary(max_size=500))
def test_an_envelope_survives_its_text(rest: bytes) -> None:
    """It is told from a Fernet token, as which it passes, and from an envelope of bytes."""
    envelope = MAGIC + rest
    text = as_text(envelope)
    assert from_text(text) == envelope
    assert is_sealed_as_text(text)
    assert not is_fernet(text)
    assert not is_sealed(text)
    assert not is_sealed_as_text(envelope)
    assert not is_fernet(envelope)
    assert text.startswith(SEALED_AS_TEXT)
    assert SEALED_AS_TEXT == b"gAAAAAVENYM"


@given(st.binary(max_size=500), st.integers(0, 700))
def test_the_beginning_of_a_text_is_the_beginning_of_its_envelope(rest: bytes, read: int) -> None:
    """Where only so many characters were read."""
    envelope = MAGIC + rest
    text = as_text(envelope)
    found = beginning_from_text(text[: max(read, 12)])
    assert envelope.startswith(found)
    assert len(found) >= min(len(envelope), (max(read, 12) - 6) // 4 * 3 - 2)


def test_a_text_that_was_altered_is_damage() -> None:
    """Behind the six characters that begin a Fernet token."""
    text = as_text(ROTATING.encode(JSON, PLACE))
    for altered in (
        text[:20] + b"!" + text[21:],
        text[:20] + b"!" + text[20:],
        text[:20] + b"\xff" + text[21:],
        text[:-1],
    ):
        with pytest.raises(SnapshotError) as refused:
            from_text(altered)
        assert refused.value.reason is Reason.DECRYPT_FAILED
        assert refused.value.__suppress_context__


def test_a_token_of_fernets_own_is_known_as_one() -> None:
    """FastMCP's own key sealed it, and ours does not open it."""
    token = Fernet(Fernet.generate_key()).encrypt(JSON)
    assert is_fernet(token)
    assert not is_sealed_as_text(token)
