"""Sealing: what the database may keep of a secret, and who can open it."""

from core.clusters.vault.canary import check_canary, make_canary
from core.clusters.vault.keyring import Keyring, read_keyring
from core.clusters.vault.keyring_file import (
    KeyringStatus,
    init_keyring,
    keyring_status,
    load_keyring,
)
from core.clusters.vault.public_key import PublicKey
from core.clusters.vault.records import key_id, needs_rekey, open_sealed, seal
from core.clusters.vault.terminal import open_from_terminal, seal_to_daemon
from core.secret import Secret

__all__ = [
    "Keyring",
    "KeyringStatus",
    "PublicKey",
    "Secret",
    "check_canary",
    "init_keyring",
    "key_id",
    "keyring_status",
    "load_keyring",
    "make_canary",
    "needs_rekey",
    "open_from_terminal",
    "open_sealed",
    "read_keyring",
    "seal",
    "seal_to_daemon",
]
