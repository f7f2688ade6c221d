"""From a terminal to the daemon: HPKE (RFC 9180), so that no terminal holds a key that opens.

blob = version (1 byte) | tag of the public key (8) | encapsulated key (32) | ciphertext and tag.
HPKE's info names command, cluster, field and submitter: a blob copied into another command, or
submitted by somebody else, does not open.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from core.clusters.vault.binding import binding
from core.clusters.vault.keyring import Keyring
from core.clusters.vault.public_key import PublicKey
from core.clusters.vault.records import PLAINTEXT_BYTES_MAX
from core.errors import SecretFault
from core.secret import Secret, bare_refusals

VERSION = 1
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_TAG_END = 9
_OVERHEAD_BYTES = _TAG_END + 32 + 16


def seal_to_daemon(
    public_key: PublicKey,
    plaintext: Secret,
    *,
    command_id: str,
    cluster: str,
    field: str,
    submitter: str,
) -> bytes:
    """Seal for the daemon alone, for this command, cluster, field and submitter only."""
    if len(plaintext) > PLAINTEXT_BYTES_MAX:
        raise SecretFault(
            f"The {field} of {cluster} is {len(plaintext)} bytes, too many to send (at most "
            f"{PLAINTEXT_BYTES_MAX}). Nothing was sent."
        )
    info = _info(command_id, cluster, field, submitter)
    try:
        sealed = _SUITE.encrypt(
            plaintext.reveal(), X25519PublicKey.from_public_bytes(public_key.raw), info
        )
    except ValueError:
        sealed = b""  # a key of small order agrees on nothing secret
    if not sealed:
        raise SecretFault(
            f"The public key {public_key.fingerprint} cannot be sealed to; compare it with "
            "`hopsmeter secrets status` on the daemon's host. Nothing was sent."
        )
    return bytes((VERSION,)) + public_key.tag + sealed


@bare_refusals
def open_from_terminal(
    keyring: Keyring, blob: bytes, *, command_id: str, cluster: str, field: str, submitter: str
) -> Secret:
    what = f"The {field} of {cluster}, as sent by {submitter},"
    if len(blob) < _OVERHEAD_BYTES or blob[0] != VERSION:
        raise SecretFault(f"{what} is damaged or of another version; submit it again.")
    if blob[1:_TAG_END] != keyring.public_key.tag:
        raise SecretFault(
            f"{what} was sealed to another key than this daemon's "
            f"({keyring.public_key.fingerprint}); submit it again."
        )
    info = _info(command_id, cluster, field, submitter)
    try:
        return Secret(_SUITE.decrypt(blob[_TAG_END:], keyring.terminal_private_key(), info))
    except InvalidTag:
        pass
    raise SecretFault(
        f"{what} does not open: it was changed on its way, or sealed for another command, cluster, "
        "field or person. Submit it again."
    )


def _info(command_id: str, cluster: str, field: str, submitter: str) -> bytes:
    return binding("terminal", str(VERSION), command_id, cluster, field, submitter)
