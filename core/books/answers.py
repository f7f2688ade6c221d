"""Whether what is stored of an hour is what its raw answer says: every figure of every namespace.

Whole columns are compared, some clusters of an hour at a time: a month of a hundred clusters is a
hundred million figures. Only where they are not the same is the hour looked at row by row, in a
statement of its own, and that look alone says what differs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import psycopg
import zstandard
from numpy.typing import NDArray

from core.db.queries import queries_beside
from core.errors import AnswerRefused
from core.opencost.answer import MONEY_COLUMNS, QUANTITY_COLUMNS, TOTAL, Answer, IntArray, Limits
from core.opencost.read import read_answer

_SQL = queries_beside(__file__)
ANSWER_MAX_BYTES: Final = 2**30
ROWS_AT_ONCE: Final = 50_000
PACKED_BYTES_AT_ONCE: Final = 2**24
"""What is held in memory together, beside one answer that is unpacked: some 30 MB."""
_ANYTHING = Limits(2**62, 2**31 - 1, 2**31 - 1, 2**62, sentinel="")
_COLUMNS = (*MONEY_COLUMNS, *QUANTITY_COLUMNS)
"""In the order of the statement `stored_figures`."""
_NAMED_COLUMNS = (MONEY_COLUMNS[TOTAL], *MONEY_COLUMNS[:TOTAL], *QUANTITY_COLUMNS)
"""In the order of the statement `stored_rows`: that a total differs says more than that a part does."""

_COPY_HEADER_BYTES, _COPY_TRAILER_BYTES = 19, 2
_RECORD = np.dtype(
    [
        ("fields", ">i2"),
        ("cluster_size", ">i4"),
        ("cluster_id", ">i4"),
        ("namespace_size", ">i4"),
        ("namespace_id", ">i4"),
        ("figures", [("size", ">i4"), ("value", ">i8")], (len(_COLUMNS),)),
    ]
)
"""How a binary COPY writes a row of `stored_figures`: none of its columns can be null."""

Figures = tuple[int, ...]
Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class KeptHour:
    """A stored cluster-hour whose raw answer is there: what its window says, and how much that is."""

    cluster_id: int
    hour: datetime
    sha256: bytes
    rows: int
    packed_bytes: int

    @property
    def key(self) -> dict[str, Any]:
        return {"hour": self.hour, "cluster_id": self.cluster_id, "sha256": self.sha256}


@dataclass(frozen=True, eq=False)
class _Stored:
    """What is stored of one cluster-hour, in the order of the namespaces' ids."""

    namespace_ids: IntArray
    figures: IntArray


class Answers:
    """Compares hours with their raw answers, on a connection that holds one snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[int, dict[str, int]] = {}
        for cluster_id, name, number in connection.execute(_SQL["namespaces"]):
            self._ids.setdefault(cluster_id, {})[name] = number
        self._alike: dict[int, tuple[list[str], NDArray[np.intp], IntArray]] = {}

    def faults(self, hours: Iterable[KeptHour]) -> Iterator[list[str]]:
        """Yield for each hour what is wrong with it; the hours come ordered by time."""
        for some in _together(hours):
            stored = self._stored(some)
            bodies = self._bodies(some)
            for each in some:
                yield self._against(each, stored.get(each.cluster_id), bodies[each.cluster_id])

    def _against(self, hour: KeptHour, stored: _Stored | None, packed: bytes) -> list[str]:
        try:
            body = zstandard.ZstdDecompressor().decompress(packed, max_output_size=ANSWER_MAX_BYTES)
            if hashlib.sha256(body).digest() != hour.sha256:
                return ["the raw answer is not the one that was stored: its SHA-256 differs"]
            answer = read_answer(body, hour.hour, _ANYTHING)
        except zstandard.ZstdError as error:
            return [f"the raw answer cannot be unpacked: {error}"]
        except AnswerRefused as refused:
            return [f"the raw answer cannot be read: {refused.message}"]
        if stored is not None and self._is_same(hour.cluster_id, answer, stored):
            return []
        return _differences(self._connection, hour, answer)

    def _is_same(self, cluster_id: int, answer: Answer, stored: _Stored) -> bool:
        order, ids = self._order(cluster_id, answer.names)
        if not np.array_equal(ids, stored.namespace_ids):
            return False
        money = stored.figures[:, : TOTAL + 1]
        return np.array_equal(answer.money[order], money) and np.array_equal(
            answer.quantities[order], stored.figures[:, TOTAL + 1 :]
        )

    def _order(self, cluster_id: int, names: list[str]) -> tuple[NDArray[np.intp], IntArray]:
        """Return the order of an answer's rows by their namespaces' ids, and those; -1 is none.

        A cluster has almost always the namespaces that it had an hour before.
        """
        known = self._alike.get(cluster_id)
        if known is None or known[0] != names:
            numbers = self._ids.get(cluster_id, {})
            ids = np.array([numbers.get(name, -1) for name in names], np.int64)
            order = np.argsort(ids)
            known = self._alike[cluster_id] = names, order, ids[order]
        return known[1], known[2]

    def _stored(self, hours: Sequence[KeptHour]) -> dict[int, _Stored]:
        """Return what is stored of some clusters in one hour, by cluster."""
        values = {"hour": hours[0].hour, "clusters": [each.cluster_id for each in hours]}
        with (
            self._connection.cursor() as cursor,
            cursor.copy(_SQL["stored_figures"], values) as source,
        ):
            wire = b"".join(source)
        count, rest = divmod(len(wire) - _COPY_HEADER_BYTES - _COPY_TRAILER_BYTES, _RECORD.itemsize)
        assert rest == 0, "a column is null, or another one"
        records = np.frombuffer(wire, _RECORD, count, _COPY_HEADER_BYTES)
        figures = records["figures"]["value"].astype(np.int64)
        namespaces = records["namespace_id"].astype(np.int64)
        clusters, firsts = np.unique(records["cluster_id"], return_index=True)
        ends = [*firsts[1:].tolist(), count]
        return {
            cluster_id: _Stored(namespaces[first:end], figures[first:end])
            for cluster_id, first, end in zip(clusters.tolist(), firsts.tolist(), ends, strict=True)
        }

    def _bodies(self, hours: Sequence[KeptHour]) -> dict[int, bytes]:
        values = {
            "hour": hours[0].hour,
            "clusters": [each.cluster_id for each in hours],
            "hashes": [each.sha256 for each in hours],
        }
        cursor = self._connection.cursor(binary=True)
        return dict(cursor.execute(_SQL["raw_bodies"], values))


def _together(hours: Iterable[KeptHour]) -> Iterator[list[KeptHour]]:
    """Put clusters of one hour together, as many as may be held in memory; at least one."""
    some: list[KeptHour] = []
    rows = packed = 0
    for each in hours:
        rows, packed = rows + each.rows, packed + each.packed_bytes
        is_full = rows > ROWS_AT_ONCE or packed > PACKED_BYTES_AT_ONCE
        if some and (is_full or each.hour != some[0].hour):
            yield some
            some, rows, packed = [], each.rows, each.packed_bytes
        some.append(each)
    if some:
        yield some


def _differences(connection: Connection, hour: KeptHour, answer: Answer) -> list[str]:
    figures = np.hstack((answer.money[:, TOTAL:], answer.money[:, :TOTAL], answer.quantities))
    said = dict(zip(answer.names, map(tuple, figures.tolist()), strict=True))
    cursor = connection.cursor(binary=True)
    stored = {name: tuple(rest) for name, *rest in cursor.execute(_SQL["stored_rows"], hour.key)}
    return [
        _difference(name, stored.get(name), said.get(name))
        for name in sorted(said.keys() | stored.keys())
        if stored.get(name) != said.get(name)
    ]


def _difference(name: str, stored: Figures | None, said: Figures | None) -> str:
    if stored is None or said is None or stored[0] != said[0]:
        return f"{name}: stored {stored and stored[0]}, OpenCost said {said and said[0]} (nano)"
    column = next(i for i, pair in enumerate(zip(stored, said, strict=True)) if pair[0] != pair[1])
    return f"{name}: {_NAMED_COLUMNS[column]} is {stored[column]}, OpenCost said {said[column]}"
