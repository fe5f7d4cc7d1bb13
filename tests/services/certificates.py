"""Certificates for TLS on loopback: an authority, a server, a client."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

_LOOPBACK: Sequence[x509.GeneralName] = (
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.DNSName("localhost"),
)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files.

    Attributes:
        both: the certificate and the plain key in one file.
        locked_key: the key encrypted with `password`.
    """

    certificate: Path
    key: Path
    locked_key: Path
    both: Path


class Authority:
    """A certificate authority of its own.

    Attributes:
        file: its certificate.
        password: of every `locked_key`.
    """

    def __init__(self, folder: Path, name: str, password: str = "open sesame") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.password = password
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> Identity:
        """A certificate for loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), self._name, key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(_LOOPBACK), False)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        locked = BestAvailableEncryption(self.password.encode())
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(
            self._write(f"{name}.pem", certificate),
            self._write(f"{name}.key", plain),
            self._write(
                f"{name}.locked", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
            ),
            self._write(f"{name}.both", certificate + plain),
        )

    def _write(self, name: str, content: bytes) -> Path:
        file = self._folder / name
        file.write_bytes(content)
        return file


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        key,
        x509.random_serial_number(),
        now - timedelta(hours=1),
        now + timedelta(days=1),
    )
