"""The daemon's public key, as the database publishes it and people compare it."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from core.errors import SecretFault

_PREFIX = "hopsmeter-x25519:"
_RAW_BYTES = 32
_TAG_BYTES = 8


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An X25519 public key, raw; what terminals seal to."""

    raw: bytes

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """Read `hopsmeter-x25519:<base64>`; blanks around it are forgiven."""
        prefix, _, encoded = text.strip().partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if f"{prefix}:" != _PREFIX or len(raw) != _RAW_BYTES:
            raise SecretFault(
                f"This is no public key of a hopsmeter daemon (it looks like {_PREFIX}…); "
                "take the one that `hopsmeter secrets status` prints on the daemon's host."
            )
        return cls(raw)

    @property
    def text(self) -> str:
        return _PREFIX + base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        """Return 128 bits of SHA-256 in groups of four, to be read aloud and compared."""
        digits = hashlib.sha256(self.raw).hexdigest()[:32]
        return " ".join(digits[at : at + 4] for at in range(0, 32, 4))

    @property
    def tag(self) -> bytes:
        """Return the eight bytes that tell a sealed blob which key it was sealed to."""
        return hashlib.sha256(self.raw).digest()[:_TAG_BYTES]
