"""Read answers that are as they should be while they are being stored: block after block of rows.

The database takes in one block while the next is read; small answers share a block, a large one has
several. Anything that is not plain (a fault, a null, a figure beyond a limit) ends the stream with
NotPlainError, what was written is rolled back, and core.opencost.read reads the answers with care: it
alone says what is wrong. So what this module yields is what that one would have said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.opencost.answer import QUANTITY_COLUMNS, TOTAL, Answer, IntArray, Summary
from core.opencost.columns import columns_of
from core.opencost.judge import surely_plausible
from core.opencost.opening import NotPlainError, Opening
from core.opencost.read import Question
from core.opencost.rows import (
    Exact,
    efficiency_ppm,
    exact_figures,
    flag_rows,
    odd_minutes,
    remarks_of,
)
from core.opencost.shape import Row

FIRST_ROWS = 320
BLOCK_ROWS = 512
"""Of the first block, so that the other end begins soon, and of the largest: some 160 kB on the wire,
which a socket takes while the other end is busy. Roughly: rows that came together stay so where
they are fewer than twice as many."""
BLOCKS_LEFT_MIN = 3
"""Towards the end blocks become smaller again: for the last one everybody waits."""
ROW_BYTES = 1_400
"""What a row takes in an answer, roughly."""
_HOURS = 1.0
_MONEYS = TOTAL + 1
_ROUNDING, _USED = TOTAL - 1, _MONEYS + 3
"""Of the figures of a block those whose largest is asked for: rounding, total, CPU, GPU, memory."""


@dataclass(frozen=True)
class Part:
    """Rows of one answer in a block: `count` of them, from its row `first` on."""

    number: int
    """Of the answer, in the order of the questions."""
    first: int
    count: int

    @property
    def rows(self) -> slice:
        """Return which of its answer's rows they are."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of some answers, part after part; the arrays as in an Answer.

    `figures` is its `money`, and beside it its `quantities`.
    """

    parts: list[Part]
    flags: NDArray[np.int16]
    figures: IntArray
    efficiency_ppm: NDArray[np.int32]


def block_of(answers: list[Answer]) -> Block:
    """Return answers that were read with care as one block."""
    return Block(
        [Part(number, 0, len(answer.names)) for number, answer in enumerate(answers)],
        np.concatenate([answer.flags for answer in answers]),
        np.concatenate([np.hstack((answer.money, answer.quantities)) for answer in answers]),
        np.concatenate([answer.efficiency_ppm for answer in answers]),
    )


class _Tally:
    """What the figures of an answer add up to so far."""

    def __init__(self) -> None:
        self.sums = np.zeros(_MONEYS + len(QUANTITY_COLUMNS))
        """Of each figure, its sign aside: rough, as `surely_plausible` wants them."""
        self.most: IntArray = np.zeros(_USED - _ROUNDING, np.int64)
        self.total_nano = 0
        self.flags = 0


class Stream:
    """Opens answers as their turn comes, and yields their rows; `summaries` are for afterwards."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = questions
        self.rows_left = sum(len(each.body) for each in questions) // ROW_BYTES
        """Rows that were not yielded yet, roughly."""
        self._openings: list[Opening] = []
        self._tallies: list[_Tally] = []

    def names(self, part: Part) -> list[str]:
        """Return what the rows of a part are called."""
        return self._openings[part.number].names[part.rows]

    def whole(self, part: Part) -> list[str]:
        """Return what all rows of its answer are called, those that were not yielded yet as well."""
        return self._openings[part.number].whole()

    def blocks(self) -> Iterator[Block]:
        """Yield all rows of all answers; NotPlainError where one of them is not plain.

        Nothing may be kept before the last block was asked for in vain: only then all is judged.
        """
        parts: list[Part] = []
        rows: list[Row] = []
        most = FIRST_ROWS
        for number, opening in enumerate(map(self._begin, self._questions)):
            while opening.more(most * ROW_BYTES):
                while opening.rows:
                    waiting, room = len(opening.rows), most - len(rows)
                    count = waiting if waiting < 2 * most else room
                    parts.append(Part(number, opening.taken, count))
                    rows += opening.take(count)
                    if len(rows) >= most or opening.is_cut:
                        yield from self._block(parts, rows)
                        parts, rows, most = [], [], self._grown(most)
        if parts:
            yield from self._block(parts, rows)
        self._judge()

    def _grown(self, most: int) -> int:
        """Return how many rows the next block should have, after one of `most`."""
        return max(FIRST_ROWS, min(most * 2, BLOCK_ROWS, self.rows_left // BLOCKS_LEFT_MIN))

    def summaries(self) -> list[Summary]:
        """Return what is to be told of each answer, once all blocks were yielded."""
        return [
            Summary(
                len(opening.names),
                tally.total_nano,
                remarks_of(tally.flags, int(tally.most[0])),
                opening.cluster_id,
            )
            for opening, tally in zip(self._openings, self._tallies, strict=True)
        ]

    def _begin(self, question: Question) -> Opening:
        self._openings.append(Opening(question))
        self._tallies.append(_Tally())
        return self._openings[-1]

    def _block(self, parts: list[Part], rows: list[Row]) -> Iterator[Block]:
        """Yield a block, and add it up while the other end is busy with it."""
        windows = [(self._openings[part.number].window, part.count) for part in parts]
        self.rows_left -= len(rows)
        figures = columns_of(rows, windows)
        # Freed while the processor still knows them; a block of a thousand has 23,000 figures.
        rows.clear()
        if figures is None:
            raise NotPlainError
        exact = exact_figures(figures)
        if exact.bad is not None or odd_minutes(exact.money, figures, _HOURS * 60).any():
            raise NotPlainError
        flags = flag_rows(exact.money, figures)
        yield Block(parts, flags, exact.figures, efficiency_ppm(figures))
        self._count(parts, exact, flags)

    def _count(self, parts: list[Part], exact: Exact, flags: NDArray[np.int16]) -> None:
        """Add a block to its answers' tallies."""
        starts = np.cumsum([0, *(part.count for part in parts[:-1])])
        sizes = np.abs(exact.figures)
        sums = np.add.reduceat(sizes.astype(np.float64), starts, axis=0)
        most = np.maximum.reduceat(sizes[:, _ROUNDING:_USED], starts, axis=0)
        # A sum that overflows here is beyond what `surely_plausible` lets pass.
        totals = np.add.reduceat(exact.money[:, TOTAL], starts).tolist()
        flagged = np.bitwise_or.reduceat(flags, starts).tolist()
        for at, part in enumerate(parts):
            tally = self._tallies[part.number]
            tally.sums += sums[at]
            np.maximum(tally.most, most[at], out=tally.most)
            tally.total_nano += totals[at]
            tally.flags |= flagged[at]

    def _judge(self) -> None:
        """See that no answer is beyond what is plausible of it."""
        for opening, tally in zip(self._openings, self._tallies, strict=True):
            spent, quantities = tally.sums[:_MONEYS], tally.sums[_MONEYS:]
            limits = opening.question.limits
            if not surely_plausible(spent, tally.most[-3:], quantities, limits, _HOURS):
                raise NotPlainError
