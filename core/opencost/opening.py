"""One plain answer, opened piece by piece: what is known of it so far, and what holds of it as a whole.

Each piece is opened as if it were an answer by itself. Together they are what the whole one is
(core.opencost.pieces) if they are of one cluster and window and no name stands in two of them.
"""

from datetime import datetime
from functools import lru_cache

from core.errors import AnswerRefused
from core.opencost.answer import Complaint
from core.opencost.pieces import Pieces, pieces_of
from core.opencost.read import ROWS_MAX, Opened, Question, open_answer, open_piece, window_of
from core.opencost.shape import Row

WINDOW_BYTES_MAX = 1_000
"""Of a window's JSON, which is remembered: OpenCost's has some sixty."""


class NotPlainError(Exception):
    """An answer has to be read with care; nothing that was yielded of any may be kept."""


class Opening:
    """`names` are those of all rows that were opened, `rows` those that were not taken yet."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.names: list[str] = []
        self.rows: list[Row] = []
        self.taken = 0
        self.cluster_id: str | None = None
        self.window = b""
        """The JSON object that each row must have as its window."""
        self.is_cut = False
        self._pieces: Pieces | None = None
        self._is_complete = False

    def more(self, size_bytes: int) -> bool:
        """Open the next piece, of about so many bytes; False once the answer is complete.

        NotPlainError where it has to be read with care. Until False nothing is known for good.
        """
        if self._is_complete:
            return False
        try:
            opened = self._next(size_bytes)
        except AnswerRefused:
            raise NotPlainError from None
        if opened is None:
            self._require_whole()
            self._is_complete = True
            return False
        self._add(opened)
        return True

    def whole(self) -> list[str]:
        """Open all that is left, and return the names of all rows."""
        while self.more(len(self.question.body)):
            pass
        return self.names

    def take(self, count: int) -> list[Row]:
        """Return the next rows, which are ours no longer."""
        self.taken += count
        if count == len(self.rows):
            taken, self.rows = self.rows, []
        else:
            taken = self.rows[:count]
            del self.rows[:count]
        return taken

    def _next(self, size_bytes: int) -> Opened | None:
        question = self.question
        if not self.names:
            large = len(question.body) > 2 * size_bytes
            self._pieces = pieces_of(question.body) if large else None
            self.is_cut = self._pieces is not None
        if self._pieces is None:
            return None if self.names else open_answer(question)
        piece = self._pieces.next(size_bytes)
        return None if piece is None else open_piece(question, piece)

    def _add(self, opened: Opened) -> None:
        window = opened.first_window
        if not self.names:
            self.cluster_id, self.window = opened.cluster_id, window
        if (
            opened.complaints
            or (opened.cluster_id, window) != (self.cluster_id, self.window)
            or len(window) > WINDOW_BYTES_MAX
            or not _is_of(window, self.question.hour)
            or not opened.names_usable
        ):
            raise NotPlainError
        self.names += opened.names
        self.rows += opened.rows

    def _require_whole(self) -> None:
        """Check what no piece can tell by itself."""
        sentinel, count = self.question.limits.sentinel, len(self.names)
        if (
            (sentinel and sentinel not in self.names)
            or count > ROWS_MAX
            or (self.is_cut and len(set(self.names)) != count)
        ):
            raise NotPlainError


@lru_cache(16)
def _is_of(window: bytes, hour: datetime | None) -> bool:
    """Say whether a window is the hour that was asked for; of 200 answers it is the same one."""
    complaints: list[Complaint] = []
    try:
        window_of({window}, hour, complaints)
    except AnswerRefused:
        return False
    return hour is not None and not complaints
