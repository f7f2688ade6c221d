"""Kubeconfigs that are right by default; a test says only what is wrong with its own."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 3, 1, 14, tzinfo=UTC)
SERVER = "https://api.eu-1.example.com:6443"
Keys = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes
    not_after: datetime


@cache
def issue(
    name: str = "hopsmeter",
    not_before: datetime = NOW - timedelta(days=1),
    not_after: datetime = NOW + timedelta(days=90),
    kind: str = "ec",
) -> Issued:
    key = new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())
    )
    return Issued(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        not_after,
    )


def new_key(kind: str) -> Keys:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else _ec_key()


def _ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def jwt(**claims: object) -> str:
    parts = [{"alg": "RS256"}, claims, {"signature": "made up"}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return b".".join(part.rstrip(b"=") for part in encoded).decode()


def by_token(token: str | None = None) -> dict[str, Any]:
    return {"token": token or jwt(sub="system:serviceaccount:opencost:hopsmeter")}


def by_certificate(issued: Issued | None = None) -> dict[str, Any]:
    issued = issued or issue()
    return {
        "client-certificate-data": b64(issued.certificate),
        "client-key-data": b64(issued.key),
    }


def kubeconfig(
    *,
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """A document; `cluster` and `context` add to what is there (None removes), `user` replaces."""
    authority = b64(issue("ca").certificate)
    in_cluster = {"server": SERVER, "certificate-authority-data": authority, **(cluster or {})}
    in_context = {"cluster": "eu-1", "user": "hopsmeter", **(context or {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": "eu-1", "cluster": _present(in_cluster)}],
        "users": [{"name": "hopsmeter", "user": by_token() if user is None else user}],
        "contexts": [{"name": "eu-1", "context": _present(in_context)}],
        "current-context": "eu-1",
        **top,
    }


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
