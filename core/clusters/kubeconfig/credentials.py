"""The credentials of a kubeconfig: really parsed, checked against each other, written out anew."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from core.clusters.kubeconfig.refusal import refuse
from core.secret import Secret

TOKEN_BYTES_MAX = 16 * 1024
CERTIFICATES_MAX = 32
CLOCK_SKEW = timedelta(minutes=5)
"""A certificate made a moment ago, by a host whose clock is ahead, is no fault."""

_TOKEN = re.compile(rb"[\x21-\x7e]+")
_JWT = re.compile(rb"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_JWT_IN_BASE64 = b"ZXlK"  # a JWT begins with eyJ, which is this in base64 once more
_RENEW = "Make new ones, and give hopsmeter the new kubeconfig."


def check_token(token: Secret) -> None:
    if len(token) > TOKEN_BYTES_MAX or not _TOKEN.fullmatch(token.reveal()):
        raise refuse(
            "bad-token",
            "Its token is too long, or has blanks or other characters that no token has.",
            "Was it broken over several lines when pasted? Put it on one line.",
        )
    if token.reveal().startswith(_JWT_IN_BASE64) and b"." not in token.reveal():
        raise refuse(
            "bad-token",
            "Its token is still in base64, as a Kubernetes secret shows it.",
            "Decode it once (`base64 -d`).",
        )


def token_expiry(token: Secret) -> datetime | None:
    """Return a JWT's `exp`; None for a token without one, and for one that is no JWT."""
    match = _JWT.fullmatch(token.reveal())
    if match is None:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(match[1] + b"=" * (-len(match[1]) % 4)))
        expiry = claims.get("exp") if isinstance(claims, dict) else None
        if isinstance(expiry, int | float) and not isinstance(expiry, bool):
            return datetime.fromtimestamp(expiry, UTC)
    except (ValueError, OverflowError, OSError, RecursionError):
        pass
    return None


def read_certificates(encoded: Secret, field: str) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a `…-data` field, in their order."""
    pem = _decode(encoded, field)
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem.reveal()))
        for certificate in certificates:
            _look_inside(certificate)
    # ValueError, InvalidVersion, UnsupportedAlgorithm have no parent of their own.
    except Exception:  # noqa: BLE001  any failure means the same: no certificate that we can use
        certificates = ()
    if not 1 <= len(certificates) <= CERTIFICATES_MAX:
        raise refuse(
            "bad-pem",
            f"{field} does not hold 1 to {CERTIFICATES_MAX} certificates in PEM.",
            "Was it cut or changed when pasted?",
        )
    return certificates


def read_key(encoded: Secret, certificate: x509.Certificate) -> Secret:
    """Read client-key-data, which must be the key of `certificate`; return it as PKCS #8 PEM."""
    pem = _decode(encoded, "client-key-data")
    if b"ENCRYPTED" in pem.reveal():
        raise refuse(
            "encrypted-key",
            "client-key-data is protected by a password, which nobody could type for the daemon.",
            "Give the key without one; hopsmeter seals it.",
        )
    try:
        key: PrivateKeyTypes | None = load_pem_private_key(pem.reveal(), password=None)
    # UnsupportedAlgorithm is an Exception of its own, TypeError is a key with a password.
    except Exception:  # noqa: BLE001  any failure means the same: this is no key that we can use
        key = None
    if key is None:
        raise refuse(
            "bad-pem",
            "client-key-data holds no private key in PEM.",
            "Was it cut or changed when pasted?",
        )
    if _spki(key.public_key()) != _spki(certificate.public_key()):
        raise refuse(
            "key-mismatch",
            "client-key-data is not the key of client-certificate-data.",
            "Give the two that belong together.",
        )
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_before_utc > now + CLOCK_SKEW:
        raise refuse(
            "not-yet-valid",
            "Its client certificate is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on.",
            "Check the clocks of this host and of the one that made it.",
        )


def check_authorities(authorities: tuple[x509.Certificate, ...], now: datetime) -> None:
    latest = max(authority.not_valid_after_utc for authority in authorities)
    if latest <= now:
        raise refuse(
            "expired",
            f"The CA of its server expired on {latest:%Y-%m-%d %H:%M} UTC.",
            "Embed the CA that signs the server's certificate now.",
        )


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise refuse(
            "expired", f"Its credentials expired on {expires_at:%Y-%m-%d %H:%M} UTC.", _RENEW
        )


def pem_text(certificates: tuple[x509.Certificate, ...]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def _decode(encoded: Secret, field: str) -> Secret:
    try:
        return Secret(base64.b64decode(b"".join(encoded.reveal().split()), validate=True))
    except (binascii.Error, ValueError):
        pass
    raise refuse(
        "bad-base64", f"{field} is not base64.", "Was it cut, or is it the PEM text itself?"
    )


def _look_inside(certificate: x509.Certificate) -> None:
    """Read now what is otherwise read on use: a damaged certificate fails here or nowhere."""
    _spki(certificate.public_key())
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _spki(key: CertificatePublicKeyTypes | PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
