"""Rows as PostgreSQL's binary COPY wants them, a whole answer at a time.

A record is its number of columns (int16), then for each column its length (int32) and value, all
big-endian. numpy writes the records of an answer in one go; rows that are somebody's and rows
that are nobody's (null user, account and plan) differ in length and are written apart.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from core.metering.hours import Fetched
from core.opencost.answer import MONEY_COLUMNS, QUANTITY_COLUMNS, USER, Answer

COLUMNS = (
    "hour",
    "namespace_id",
    "cluster_id",
    "kind",
    "flags",
    "revision",
    "user_no",
    "account_no",
    "plan_version_id",
    *MONEY_COLUMNS,
    *QUANTITY_COLUMNS,
    "efficiency_ppm",
)
_SHORT, _INT, _BIG = ">i2", ">i4", ">i8"
_TYPES = {
    "hour": _BIG,
    "namespace_id": _INT,
    "cluster_id": _INT,
    "kind": _SHORT,
    "flags": _SHORT,
    "revision": _INT,
    "user_no": _INT,
    "account_no": _INT,
    "plan_version_id": _INT,
    "efficiency_ppm": _INT,
}
_NULLABLE = frozenset({"user_no", "account_no", "plan_version_id"})
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Attributed:
    """Whose each row of an answer is, in the answer's order; 0 in user_no means nobody's."""

    namespace_ids: Ints
    kinds: NDArray[np.int16]
    user_nos: Ints
    account_nos: Ints
    plan_version_id: int


def _record(*, nobody: bool) -> np.dtype[np.void]:
    fields: list[tuple[str, str]] = [("columns", _SHORT)]
    for name in COLUMNS:
        fields.append((f"{name}_length", _INT))
        if not (nobody and name in _NULLABLE):
            fields.append((name, _TYPES.get(name, _BIG)))
    return np.dtype(fields)


def _template(record: np.dtype[np.void]) -> NDArray[np.void]:
    row = np.zeros(1, record)
    row["columns"] = len(COLUMNS)
    names = record.names or ()
    for name in COLUMNS:
        size = np.dtype(_TYPES.get(name, _BIG)).itemsize if name in names else -1
        row[f"{name}_length"] = size
    return row


_SOMEBODY = _template(_record(nobody=False))
_NOBODY = _template(_record(nobody=True))


def postgres_time(at: datetime) -> int:
    """Return microseconds since 2000, as the wire has them."""
    gone = at - _POSTGRES_EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def pack_rows(each: Fetched, whose: Attributed, *, revision: int) -> bytes:
    """Return the records of one answer, without header and trailer."""
    somebody = whose.kinds == USER
    same = (each.claim.cluster_id, postgres_time(each.claim.hour), revision)
    return b"".join(
        _part(each.answer, whose, mask, template, same)
        for mask, template in ((somebody, _SOMEBODY), (~somebody, _NOBODY))
        if mask.any()
    )


def _part(
    answer: Answer,
    whose: Attributed,
    mask: NDArray[np.bool_],
    template: NDArray[np.void],
    same: tuple[int, int, int],
) -> bytes:
    count = int(mask.sum())
    rows = np.repeat(template, count)
    rows["cluster_id"], rows["hour"], rows["revision"] = same
    rows["namespace_id"] = whose.namespace_ids[mask]
    rows["kind"] = whose.kinds[mask]
    rows["flags"] = answer.flags[mask]
    if template is _SOMEBODY:
        rows["user_no"] = whose.user_nos[mask]
        rows["account_no"] = whose.account_nos[mask]
        rows["plan_version_id"] = whose.plan_version_id
    for column, name in enumerate(MONEY_COLUMNS):
        rows[name] = answer.money[mask, column]
    for column, name in enumerate(QUANTITY_COLUMNS):
        rows[name] = answer.quantities[mask, column]
    rows["efficiency_ppm"] = answer.efficiency_ppm[mask]
    return rows.tobytes()


def copy_stream(parts: list[bytes]) -> bytes:
    """Wrap records into one binary COPY."""
    return b"".join([_HEADER, *parts, _TRAILER])


COPY_COLUMNS = ", ".join(COLUMNS)
