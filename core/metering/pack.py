"""Rows as PostgreSQL's binary COPY wants them, a block at a time.

A record is its number of columns (int16), then for each column its length (int32) and value, all
big-endian. numpy writes the records of a block in one go; rows that are somebody's and rows
that are nobody's (null user, account and plan) differ in length and are written apart.
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
_NULLABLE = frozenset({"user_no", "account_no", "plan_version_id"})
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


def _record(*, nobody: bool) -> np.dtype[np.void]:
    """Lay out a record; the figures, which stand side by side, are one field of all of them."""
    fields: list[tuple[Any, ...]] = [("columns", _SHORT)]
    for name in COLUMNS:
        if name == _FIGURES[0]:
            fields.append(("figures", _FIGURE, (len(_FIGURES),)))
        if name in _FIGURES:
            continue
        fields.append((f"{name}_length", _INT))
        if not (nobody and name in _NULLABLE):
            fields.append((name, _TYPES[name]))
    return np.dtype(fields)


def _template(record: np.dtype[np.void]) -> NDArray[np.void]:
    row = np.zeros(1, record)
    row["columns"] = len(COLUMNS)
    row["figures"]["length"] = np.dtype(_BIG).itemsize
    names = record.names or ()
    for name, form in _TYPES.items():
        row[f"{name}_length"] = np.dtype(form).itemsize if name in names else -1
    return row


_SOMEBODY = _template(_record(nobody=False))
_NOBODY = _template(_record(nobody=True))


def postgres_time(at: datetime) -> int:
    """Return microseconds since 2000, as the wire has them."""
    gone = at - _POSTGRES_EPOCH
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def pack_block(block: Block, owned: Sequence[tuple[Claim, Attributed]], *, revision: int) -> bytes:
    """Return the records of a block, without header and trailer.

    `owned` tells of each part of the block which hour it is of, and whose its rows are.
    """
    counts = [part.count for part in block.parts]
    columns: dict[str, NDArray[Any]] = {
        "hour": np.repeat([postgres_time(claim.hour) for claim, _ in owned], counts),
        "cluster_id": np.repeat([claim.cluster_id for claim, _ in owned], counts),
        "namespace_id": np.concatenate([whose.namespace_ids for _, whose in owned]),
        "kind": np.concatenate([whose.kinds for _, whose in owned]),
        "user_no": np.concatenate([whose.user_nos for _, whose in owned]),
        "account_no": np.concatenate([whose.account_nos for _, whose in owned]),
        "plan_version_id": np.concatenate([whose.plan_version_ids for _, whose in owned]),
        "flags": block.flags,
        "efficiency_ppm": block.efficiency_ppm,
        "revision": np.full(sum(counts), revision),
    }
    somebody = columns["kind"] == USER
    figures = np.hstack((block.money, block.quantities))
    return b"".join(
        _part(columns, figures, mask, template)
        for mask, template in ((somebody, _SOMEBODY), (~somebody, _NOBODY))
    )


def _part(
    columns: dict[str, NDArray[Any]],
    figures: NDArray[np.int64],
    mask: NDArray[np.bool_],
    template: NDArray[np.void],
) -> bytes:
    rows = np.repeat(template, int(mask.sum()))
    rows["figures"]["value"] = figures[mask]
    named = template.dtype.names or ()
    for name, column in columns.items():
        if name in named:
            rows[name] = column[mask]
    return rows.tobytes()


COPY_COLUMNS = ", ".join(COLUMNS)
