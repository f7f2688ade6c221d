"""The reference under which something is posted once: what a person gave, or the command's own."""

from typing import Any, Final

import psycopg

from core.errors import Conflict, InputFault
from core.identity.principal import Principal

KEY_CHARS_MAX = 200
_OURS_BEFORE = ("command:", "expiry:")
_OURS_AFTER = (":repaid", ":arrears", ":returned")
"""What our own posts are called by; a key like them would be in their way one day."""
_EXPIRED_UNDER: Final = (
    "SELECT (before ->> 'lot')::bigint FROM hopsmeter.audit_log"
    " WHERE subject = 'account ' || %s AND action = 'credits.expire' AND after ->> 'key' = %s"
    " ORDER BY id LIMIT 1"
)

Connection = psycopg.Connection[Any]


def reference_of(principal: Principal, key: str | None) -> str:
    """Return the key where it can be one, without a key the command's name; InputFault says why not."""
    if key is None:
        assert principal.command_id is not None, "a post without a key or a command"
        return f"command:{principal.command_id}"
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable() or key != key.strip():
        raise InputFault(
            f"A key has 1 to {KEY_CHARS_MAX} printable characters, none of them a space at its"
            " ends. Nothing was changed."
        )
    if key.startswith(_OURS_BEFORE) or key.endswith(_OURS_AFTER):
        raise InputFault(
            "A key does not begin with `command:` or `expiry:` nor end with `:repaid`, `:arrears`"
            " or `:returned`, which are ours; choose another. Nothing was changed."
        )
    return key


def key_used(key: str) -> Conflict:
    """Say that a key stands for something else."""
    return Conflict(
        f"The key {key} was used for another post of this account; use one of its own."
        " Nothing was changed."
    )


def posted_before(connection: Connection, account_no: int, key: str) -> bool:
    """A key of last month's is still the same post, though its date may be past by now."""
    question = "SELECT FROM hopsmeter.ledger_entries WHERE account_no = %s AND ref = %s"
    return bool(connection.execute(question, [account_no, key]).rowcount)


def expired_under(connection: Connection, account_id: str, key: str) -> int | None:
    """Return the lot that a person let expire under a key; else None.

    The ledger knows an expiry by its lot, of which there is one, and the trail alone has its key. The
    caller holds the account's books, as do all who post under a key.
    """
    row = connection.execute(_EXPIRED_UNDER, [account_id, key]).fetchone()
    return row[0] if row else None


def require_no_expiry(connection: Connection, account_id: str, key: str) -> None:
    """Conflict where a key stands for a lot that expired; those of commands never do."""
    if not key.startswith(_OURS_BEFORE) and expired_under(connection, account_id, key) is not None:
        raise key_used(key)
