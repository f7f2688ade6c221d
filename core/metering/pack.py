"""Rows as PostgreSQL's binary COPY wants them, a block at a time.

A record is its number of columns (int16), then for each column its length (int32) and value, all
big-endian. numpy writes the records of a block in one go, as if every row were somebody's; in those
that are nobody's, null takes the place of user, account and plan, which stand side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.metering.hours import Claim
from core.opencost.answer import MONEY_COLUMNS, QUANTITY_COLUMNS, USER
from core.opencost.stream import Block

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
_OWNER = ("user_no", "account_no", "plan_version_id")
_NULL = b"\xff\xff\xff\xff"
"""A length of -1, and no value."""
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Ints = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Attributed:
    """Whose each row of an answer is, and by which plan version; 0 in user_no means nobody's."""

    namespace_ids: Ints
    kinds: NDArray[np.int16]
    user_nos: Ints
    account_nos: Ints
    plan_version_ids: Ints

    def part(self, rows: slice) -> "Attributed":
        """Return the same of some of the rows."""
        return Attributed(
            self.namespace_ids[rows],
            self.kinds[rows],
            self.user_nos[rows],
            self.account_nos[rows],
            self.plan_version_ids[rows],
        )


_FIGURES = (*MONEY_COLUMNS, *QUANTITY_COLUMNS)
_FIGURE = np.dtype([("length", _INT), ("value", _BIG)])


def _record() -> np.dtype[np.void]:
    """Lay out a record; the figures, which stand side by side, are one field of all of them."""
    fields: list[tuple[Any, ...]] = [("columns", _SHORT)]
    for name in COLUMNS:
        if name == _FIGURES[0]:
            fields.append(("figures", _FIGURE, (len(_FIGURES),)))
        if name not in _FIGURES:
            fields += [(f"{name}_length", _INT), (name, _TYPES[name])]
    return np.dtype(fields)


def _template(record: np.dtype[np.void]) -> NDArray[np.void]:
    row = np.zeros(1, record)
    row["columns"] = len(COLUMNS)
    row["figures"]["length"] = np.dtype(_BIG).itemsize
    for name, form in _TYPES.items():
        row[f"{name}_length"] = np.dtype(form).itemsize
    return row


def _place(field: str) -> int:
    fields = _RECORD.fields
    assert fields is not None
    return int(fields[field][1])


_RECORD = _record()
_TEMPLATE = _template(_RECORD)
_OWNER_BEGIN = _place(f"{_OWNER[0]}_length")
_OWNER_BYTES = _place("figures") - _OWNER_BEGIN


def postgres_time(at: datetime) -> int:
    """Return microseconds since 2000, as the wire has them."""
    gone = at - _POSTGRES_EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def pack_block(block: Block, owned: Sequence[tuple[Claim, Attributed]], *, revision: int) -> bytes:
    """Return the records of a block, without header and trailer.

    `owned` tells of each part of the block which hour it is of, and whose its rows are.
    """
    counts = [part.count for part in block.parts]
    rows = np.repeat(_TEMPLATE, sum(counts))
    rows["hour"] = np.repeat([postgres_time(claim.hour) for claim, _ in owned], counts)
    rows["cluster_id"] = np.repeat([claim.cluster_id for claim, _ in owned], counts)
    rows["revision"] = revision
    rows["namespace_id"] = np.concatenate([whose.namespace_ids for _, whose in owned])
    rows["kind"] = kinds = np.concatenate([whose.kinds for _, whose in owned])
    rows["user_no"] = np.concatenate([whose.user_nos for _, whose in owned])
    rows["account_no"] = np.concatenate([whose.account_nos for _, whose in owned])
    rows["plan_version_id"] = np.concatenate([whose.plan_version_ids for _, whose in owned])
    rows["flags"] = block.flags
    rows["figures"]["value"] = block.figures
    rows["efficiency_ppm"] = block.efficiency_ppm
    return _with_nulls(rows, np.flatnonzero(kinds != USER).tolist())


def _with_nulls(rows: NDArray[np.void], nobodys: list[int]) -> bytes:
    """Return the records, of which some are nobody's."""
    records, null = memoryview(rows.tobytes()), _NULL * len(_OWNER)
    parts: list[bytes | memoryview] = []
    begin = 0
    for row in nobodys:
        owner = row * _RECORD.itemsize + _OWNER_BEGIN
        parts += (records[begin:owner], null)
        begin = owner + _OWNER_BYTES
    return b"".join((*parts, records[begin:]))


COPY_COLUMNS = ", ".join(COLUMNS)
