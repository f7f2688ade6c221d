"""The keyring and the database belong together: proved at every start, before anything is sealed."""

from typing import Any

import psycopg

from core.clusters.vault import Keyring, check_canary, load_keyring, make_canary
from core.errors import SecretFault
from core.settings import Settings

_KNOWN = "SELECT key_id, canary, public_key FROM hopsmeter.secret_keys WHERE is_primary"


def open_keyring(settings: Settings) -> Keyring:
    """Read the keyring that the settings name; SecretFault says how to make or mend it."""
    path = settings.keyring_path
    if settings.keyring_is_credential:
        return load_keyring(None, environ={"CREDENTIALS_DIRECTORY": str(path.parent)})
    return load_keyring(path, environ={})


def prove_keyring(connection: psycopg.Connection[Any], keyring: Keyring) -> bool:
    """Raise SecretFault unless this is the keyring that the database was sealed with.

    A database that knows no key yet takes this one; one that knows its older keys only takes its
    new first one. Returns whether something was written.
    """
    with connection.transaction():
        connection.execute("LOCK TABLE hopsmeter.secret_keys IN SHARE ROW EXCLUSIVE MODE")
        if check_keyring(connection, keyring) == keyring.primary.key_id:
            return False
        _publish(connection, keyring)
    return True


def may_check(connection: psycopg.Connection[Any]) -> bool:
    """Say whether this role may read what the keyring is proved with; a person's may not."""
    row = connection.execute(
        "SELECT has_column_privilege('hopsmeter.secret_keys', 'canary', 'SELECT')"
    ).fetchone()
    return bool(row and row[0])


def check_keyring(connection: psycopg.Connection[Any], keyring: Keyring) -> str | None:
    """Return the id of the key that the database knows as the first, None where it knows none.

    SecretFault where this keyring cannot open what is sealed, or terminals seal to another key.
    """
    known = connection.execute(_KNOWN).fetchone()
    if known is None:
        return None
    key_id, canary, public_key = known
    check_canary(keyring, canary)
    if public_key != keyring.public_key.text:
        raise SecretFault(
            f"The public key in the database is not the one of the keyring {keyring.source}:"
            " somebody changed it, and could read what terminals seal. Find out who, then delete"
            f" the row of key {key_id} from hopsmeter.secret_keys; the next start writes it anew."
        )
    return str(key_id)


def _publish(connection: psycopg.Connection[Any], keyring: Keyring) -> None:
    connection.execute("UPDATE hopsmeter.secret_keys SET is_primary = false WHERE is_primary")
    connection.execute(
        "INSERT INTO hopsmeter.secret_keys (key_id, canary, public_key, is_primary)"
        " VALUES (%s, %s, %s, true)"
        " ON CONFLICT (key_id) DO UPDATE SET canary = excluded.canary,"
        " public_key = excluded.public_key, is_primary = true",
        [keyring.primary.key_id, make_canary(keyring), keyring.public_key.text],
    )
