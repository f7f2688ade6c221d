"""An hour that is stored already was answered differently: what changed becomes a revision.

The replaced rows go to allocation_history as they were. A re-read that loses namespaces or falls
by more than a few per cent is not believed by itself: Prometheus forgets, and forgetting is no
refund. It is held for an admin.
"""

from typing import Any, LiteralString

import psycopg

from core.clock import hour_text
from core.db.queries import queries_beside
from core.metering.hours import Fetched, Outcome, Stored
from core.metering.pack import COLUMNS, COPY_COLUMNS, HEADER, TRAILER, Attributed, pack_block
from core.metering.policy import Policy
from core.money import text_from_nano
from core.opencost.stream import block_of
from core.opencost.words import some

_SQL = queries_beside(__file__)
_COPY = f"COPY hopsmeter_staging ({COPY_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COMPARED = tuple(column for column in COLUMNS if column != "revision")


def _spelled(name: str) -> LiteralString:
    """Fill the compared columns into a statement; they are constants of ours."""
    listed = {
        "columns": ", ".join(_COMPARED),
        "columns_a": "(" + ", ".join(f"a.{column}" for column in _COMPARED) + ")",
        "columns_s": "(" + ", ".join(f"s.{column}" for column in _COMPARED) + ")",
        "columns_excluded": ", ".join(f"excluded.{column}" for column in _COMPARED),
        "columns_excluded_row": "(" + ", ".join(f"excluded.{column}" for column in _COMPARED) + ")",
    }
    text = str(_SQL[name])
    for key, columns in listed.items():
        text = text.replace("{" + key + "}", columns)
    return text


_CHANGED, _KEEP_REPLACED, _REPLACE = (
    _spelled(name) for name in ("changed", "keep_replaced", "replace")
)


def revise(
    connection: psycopg.Connection[Any],
    each: Fetched,
    whose: Attributed,
    revision: int,
    policy: Policy,
) -> Stored:
    """Lay the re-read beside what is stored, and replace what differs; or hold it."""
    claim, answer = each.claim, each.answer
    at = {"cluster_id": claim.cluster_id, "hour": claim.hour}
    connection.execute(_SQL["staging"])
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        records = pack_block(block_of([answer]), [(claim, whose)], revision=revision + 1)
        copy.write(HEADER + records + TRAILER)
    if each.accepted_by is None:
        why = _shrinkage(connection, at, policy)
        if why:
            connection.execute("TRUNCATE hopsmeter_staging")
            return Stored(claim, "held", 0, answer.total_nano, why, answer.cluster_id)
    connection.execute(_SQL["stage_vanished"], at)
    values = {**at, "raw_sha256": claim.raw_sha256}
    found = connection.execute(_CHANGED, values).fetchone()
    assert found is not None
    changed: int
    changed, proof_is_kept = found
    if changed:
        values["why"] = "accepted" if each.accepted_by else "restated"
        connection.execute(_KEEP_REPLACED, values)
        connection.execute(_REPLACE, {"revision": revision + 1})
    connection.execute("TRUNCATE hopsmeter_staging")
    # Where the answer that proves these figures is past its time, this one proves them from now on.
    outcome: Outcome = "revised" if changed or not proof_is_kept else "unchanged"
    return Stored(claim, outcome, changed, answer.total_nano, source=answer.cluster_id)


def _shrinkage(connection: psycopg.Connection[Any], at: dict[str, Any], policy: Policy) -> str:
    """Say in a sentence what the re-read would lose; empty where it may be believed.

    The way out is for those who tell it: only they know what may still be done.
    """
    row = connection.execute(_SQL["shrinkage"], at).fetchone()
    assert row is not None
    lost, before, after, names, currency = row
    if lost:
        namespaces = "1 namespace" if lost == 1 else f"{lost} namespaces"
        return f"The re-read of {hour_text(at['hour'])} no longer has {namespaces} ({some(names)})."
    if (before - after) * 100 > abs(before) * policy.shrink_max_percent:
        return (
            f"The re-read of {hour_text(at['hour'])} fell from {text_from_nano(before, 5)}"
            f" {currency} to {text_from_nano(after, 5)} {currency}, idle left out."
        )
    return ""
