"""Certificates for servers on loopback."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


PEM = serialization.Encoding.PEM


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


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A certificate authority used only by this test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self._write("ca.pem", self._sign("test authority", self._key, basic, _SIGNS_CERTIFICATES).public_bytes(PEM))

    @property
    def path(self) -> Path:
        """The path of its certificate."""
        return self._folder / "ca.pem"

    def client_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.path)

    def server_context(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """A server context with a certificate for these names; it prefers HTTP/2."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate(*names))
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def certificate(self, *names: x509.GeneralName) -> Path:
        """The path of a certificate for these names with its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign("a server", key, x509.SubjectAlternativeName(names)).public_bytes(PEM)
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return self._write("server.pem", leaf + private)

    def _write(self, name: str, data: bytes) -> Path:
        (self._folder / name).write_bytes(data)
        return self._folder / name

    def _sign(self, subject: str, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named("test authority"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(NOW - HOUR).not_valid_after(NOW + HOUR)
        # RFC 5280, 4.2.1.1 to 4.2.1.3: Python 3.13 demands key identifiers, and key usage of an authority.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256())
