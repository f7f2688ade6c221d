"""Read answers that are as they should be while they are being stored: block after block of rows.

The database takes in one block while the next is read; small answers share a block, a large one has
several. Anything that is not plain (a fault, a null, a figure beyond a limit) ends the stream with
NotPlainError, what was written is rolled back, and core.opencost.read reads the answers with care: it
alone says what is wrong. So what this module yields is what that one would have said.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import AnswerRefused
from core.opencost.answer import QUANTITY_COLUMNS, TOTAL, Answer, Complaint, IntArray, Summary
from core.opencost.columns import columns_of
from core.opencost.judge import names_usable, spent_nano, surely_plausible, used_all, used_most
from core.opencost.read import Opened, Question, open_answer, window_of
from core.opencost.rows import (
    efficiency_ppm,
    exact_figures,
    flag_rows,
    odd_minutes,
    remarks_of,
    rounding_nano,
)

FIRST_ROWS = 128
BLOCK_ROWS = 1024
"""Of the first block, so that the other end begins soon, and of the largest: each has twice the rows
of the one before. Some 300 kB on the wire, which is what the connection's buffer has room for."""
_HOURS = 1.0


class NotPlainError(Exception):
    """An answer has to be read with care; nothing that was yielded of any may be kept."""


@dataclass(frozen=True)
class Part:
    """Rows of one answer in a block: `count` of them, from its row `first` on."""

    number: int
    """Of the answer, in the order of the questions."""
    first: int
    count: int


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of some answers, part after part; the arrays as in an Answer."""

    parts: list[Part]
    flags: NDArray[np.int16]
    money: IntArray
    quantities: IntArray
    efficiency_ppm: NDArray[np.int32]


def block_of(answers: list[Answer]) -> Block:
    """Return answers that were read with care as one block."""
    return Block(
        [Part(number, 0, len(answer.names)) for number, answer in enumerate(answers)],
        np.concatenate([answer.flags for answer in answers]),
        np.concatenate([answer.money for answer in answers]),
        np.concatenate([answer.quantities for answer in answers]),
        np.concatenate([answer.efficiency_ppm for answer in answers]),
    )


@dataclass(eq=False)
class _Tally:
    """What is known of an answer so far."""

    opened: Opened
    left: int
    spent: NDArray[np.float64] = field(default_factory=lambda: np.zeros(TOTAL + 1))
    used: IntArray = field(default_factory=lambda: np.zeros(3, np.int64))
    quantities: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(QUANTITY_COLUMNS)))
    total_nano: int = 0
    flags: int = 0
    rounding_nano: int = 0


class Stream:
    """Opens answers as their turn comes, and yields their rows; `summaries` are for afterwards."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._questions = questions
        self._tallies: list[_Tally] = []

    def opened(self, number: int) -> Opened:
        """Return an answer of which rows were yielded."""
        return self._tallies[number].opened

    def blocks(self) -> Iterator[Block]:
        """Yield all rows of all answers; NotPlainError where one of them is not plain."""
        parts: list[Part] = []
        room = full = FIRST_ROWS
        for number, opened in enumerate(map(self._open, self._questions)):
            first, rows = 0, len(opened.rows)
            while first < rows:
                parts.append(Part(number, first, min(room, rows - first)))
                first += parts[-1].count
                room -= parts[-1].count
                if not room:
                    yield self._block(parts)
                    room = full = min(full * 2, BLOCK_ROWS)
                    parts = []
        if parts:
            yield self._block(parts)

    def summaries(self) -> list[Summary]:
        """Return what is to be told of each answer, once all blocks were yielded."""
        return [
            Summary(
                len(tally.opened.names),
                tally.total_nano,
                remarks_of(tally.flags, tally.rounding_nano),
                tally.opened.cluster_id,
            )
            for tally in self._tallies
        ]

    def _open(self, question: Question) -> Opened:
        complaints: list[Complaint] = []
        try:
            opened = open_answer(question)
            window_of({opened.first_window}, question.hour, complaints)
        except AnswerRefused:
            raise NotPlainError from None
        sentinel = question.limits.sentinel
        if (
            question.hour is None
            or complaints
            or opened.complaints
            or not names_usable(opened.cluster_id, opened.names)
            or (sentinel and sentinel not in opened.names)
        ):
            raise NotPlainError
        self._tallies.append(_Tally(opened, len(opened.rows)))
        return opened

    def _block(self, parts: list[Part]) -> Block:
        windows, rows = [], []
        for part in parts:
            opened = self.opened(part.number)
            rows += opened.rows[part.first : part.first + part.count]
            windows.append((opened.first_window, part.count))
        figures = columns_of(rows, windows)
        if figures is None:
            raise NotPlainError
        exact = exact_figures(figures)
        if exact.bad is not None or odd_minutes(exact.money, figures, _HOURS * 60).any():
            raise NotPlainError
        flags = flag_rows(exact.money, figures)
        self._count(parts, exact.money, exact.quantities, flags)
        return Block(parts, flags, exact.money, exact.quantities, efficiency_ppm(figures))

    def _count(
        self, parts: list[Part], money: IntArray, quantities: IntArray, flags: NDArray[np.int16]
    ) -> None:
        """Add a block to its answers' tallies, and judge those that are complete."""
        starts = np.cumsum([0, *(part.count for part in parts[:-1])])
        spent = np.add.reduceat(spent_nano(money), starts)
        used = np.maximum.reduceat(used_most(quantities), starts)
        summed = np.add.reduceat(used_all(quantities), starts)
        # A sum that overflows here is beyond what `surely_plausible` lets pass.
        totals = np.add.reduceat(money[:, TOTAL], starts).tolist()
        flagged = np.bitwise_or.reduceat(flags, starts).tolist()
        rounding = np.maximum.reduceat(rounding_nano(money), starts).tolist()
        for at, part in enumerate(parts):
            tally = self._tallies[part.number]
            tally.left -= part.count
            tally.spent += spent[at]
            np.maximum(tally.used, used[at], out=tally.used)
            tally.quantities += summed[at]
            tally.total_nano += totals[at]
            tally.flags |= flagged[at]
            tally.rounding_nano = max(tally.rounding_nano, rounding[at])
            if tally.left:
                continue
            # Freed while the processor still knows them; hundreds of answers are half a million.
            tally.opened.rows.clear()
            limits = tally.opened.question.limits
            if not surely_plausible(tally.spent, tally.used, tally.quantities, limits, _HOURS):
                raise NotPlainError
