"""A known sentence, sealed once and opened at every start.

With the wrong keyring nothing would fail until the first cluster is asked; the canary fails at
the start, by name.
"""

from core.clusters.vault.keyring import Keyring
from core.clusters.vault.records import key_id, open_sealed, seal
from core.errors import SecretFault
from core.secret import Secret

_SENTENCE = b"This keyring is the one that the database was sealed with."


def make_canary(keyring: Keyring) -> bytes:
    return seal(keyring, Secret(_SENTENCE), table="canary", column="sealed", row="1")


def check_canary(keyring: Keyring, record: bytes) -> None:
    """Raise SecretFault unless `keyring` is the one that `record` was made with."""
    try:
        if open_sealed(keyring, record, table="canary", column="sealed", row="1").reveal() == (
            _SENTENCE
        ):
            return
    except SecretFault:
        pass
    raise SecretFault(
        f"The keyring {keyring.source} (keys {', '.join(keyring.key_ids)}) is not the one that this "
        f"database was sealed with (key {_sealed_with(record)}). Start with the right keyring, or "
        "the right database; nothing was changed."
    )


def _sealed_with(record: bytes) -> str:
    try:
        return key_id(record)
    except SecretFault:
        return "unreadable"
