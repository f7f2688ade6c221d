"""The advisory locks, all named here, so that no two purposes share a number by accident.

One call per transaction, as a statement of its own: the next statement then gets a snapshot taken
after the lock was won (READ COMMITTED), which a lock inside a larger statement would not give.
"""

from enum import IntEnum
from typing import Any

import psycopg


class Lock(IntEnum):
    """Numbers of pg_advisory_xact_lock; "hop" and the purpose."""

    ATTRIBUTION = 0x686F7001
    """Shared by every store, exclusive for whatever changes who owns what."""
    POSTING = 0x686F7002
    """One poster at a time, beside the keys that would catch a second one."""
    REGISTRY = 0x686F7003
    """One cluster registered or changed at a time, so that none is there twice."""
    PEOPLE = 0x686F7004
    """One user added at a time, so that no address is given to two."""
    CLOSING = 0x686F7005
    """Shared by every post (`posting_date` of the schema takes it), exclusive for the closing of a
    month: no entry comes into a month behind its closing."""
    REPORTING = 0x686F7006
    """One decides at a time what Stripe is told next; sending is apart, under leases."""
    WEBHOOKS = 0x686F7009
    """One claim of events from outside at a time: of one subject, one event is in work."""


def take(connection: psycopg.Connection[Any], lock: Lock, *, shared: bool = False) -> None:
    """Wait (up to the session's lock_timeout) for `lock`; it ends with the transaction."""
    if shared:
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [int(lock)])
    else:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [int(lock)])


def taking(lock: Lock, *, shared: bool = False) -> bytes:
    """Return what `take` asks, for a transaction that begins with it."""
    return b"SELECT pg_advisory_xact_lock%b(%d);" % (b"_shared" if shared else b"", lock)


def trying(lock: Lock) -> bytes:
    """Return what takes `lock` if nobody holds it, for a transaction that begins with it: the answer says so."""
    return b"SELECT pg_try_advisory_xact_lock(%d);" % lock
