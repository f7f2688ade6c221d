"""Sealed values as the database keeps them: AES-256-GCM, bound to where they stand.

record = version (1 byte) | length of key id (1) | key id | nonce (12) | ciphertext and tag (16).
The associated data names version, key id, table, column, row and whatever else the value belongs
to (for an API key: the URL it may be sent to), so a record moved elsewhere does not open.
"""

import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.clusters.vault.binding import binding
from core.clusters.vault.keyring import Keyring
from core.errors import SecretFault
from core.secret import Secret, bare_refusals

VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
PLAINTEXT_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class _Parts:
    key_id: str
    nonce: bytes
    ciphertext: bytes


def seal(
    keyring: Keyring,
    plaintext: Secret,
    *,
    table: str,
    column: str,
    row: str,
    bound_to: tuple[str, ...] = (),
) -> bytes:
    """Seal with the primary key for this row's column; the same place and `bound_to` open it."""
    if len(plaintext) > PLAINTEXT_BYTES_MAX:
        raise SecretFault(
            f"{table}.{column} of {row}: {len(plaintext)} bytes are too many to seal "
            f"(at most {PLAINTEXT_BYTES_MAX}). Nothing was changed."
        )
    key = keyring.primary
    nonce = secrets.token_bytes(NONCE_BYTES)
    place = _place(key.key_id, table, column, row, bound_to)
    ciphertext = AESGCM(key.material.reveal()).encrypt(nonce, plaintext.reveal(), place)
    named = key.key_id.encode()
    return bytes((VERSION, len(named))) + named + nonce + ciphertext


@bare_refusals
def open_sealed(
    keyring: Keyring,
    record: bytes,
    *,
    table: str,
    column: str,
    row: str,
    bound_to: tuple[str, ...] = (),
) -> Secret:
    where = f"{table}.{column} of {row}"
    parts = _split(record, where)
    key = keyring.find(parts.key_id)
    if key is None:
        raise SecretFault(
            f"{where} is sealed with the key {parts.key_id}, which the keyring "
            f"{keyring.source} does not hold (it holds {', '.join(keyring.key_ids)}). Put that key "
            "back into the keyring, or enter the value anew."
        )
    place = _place(key.key_id, table, column, row, bound_to)
    try:
        return Secret(AESGCM(key.material.reveal()).decrypt(parts.nonce, parts.ciphertext, place))
    except InvalidTag:
        pass
    raise SecretFault(
        f"{where} does not open with the key {parts.key_id}: its bytes were changed, it was moved "
        "here from elsewhere, or what it belongs to has changed. Enter the value anew, or restore "
        "the row from a backup."
    )


def key_id(record: bytes) -> str:
    """Return the id of the key that sealed a record."""
    return _split(record, "This value").key_id


def needs_rekey(record: bytes, keyring: Keyring) -> bool:
    return key_id(record) != keyring.primary.key_id


def _place(
    sealing_key_id: str, table: str, column: str, row: str, bound_to: tuple[str, ...]
) -> bytes:
    return binding("record", str(VERSION), sealing_key_id, table, column, row, *bound_to)


def _split(record: bytes, where: str) -> _Parts:
    if len(record) < 2 or record[0] != VERSION:
        raise SecretFault(
            f"{where} is no sealed record of format {VERSION}. Enter the value anew, or restore "
            "the row from a backup."
        )
    nonce_at = 2 + record[1]
    ciphertext_at = nonce_at + NONCE_BYTES
    named = record[2:nonce_at]
    if not named.isascii() or not named or len(record) < ciphertext_at + TAG_BYTES:
        raise SecretFault(
            f"{where} is damaged or cut short. Enter the value anew, or restore the row from a "
            "backup."
        )
    return _Parts(
        # A damaged id is shown escaped: it comes from the database and goes to a terminal.
        named.decode("ascii").encode("unicode_escape").decode("ascii"),
        record[nonce_at:ciphertext_at],
        record[ciphertext_at:],
    )
