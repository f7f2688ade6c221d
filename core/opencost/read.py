"""The strict reader: from the bytes of an answer to exact rows and a list of complaints.

Nothing is set to zero and nothing is left out to make an answer fit: what cannot be believed is
refused with its reason. The one exception is the idle row, which is nobody's: it may be unusable
without failing the hour, and is then told in the remarks.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import cast

from core.clock import HOUR
from core.errors import AnswerRefused
from core.opencost import matrix
from core.opencost.answer import Answer, Complaint, Fault, Limits
from core.opencost.columns import FIGURES
from core.opencost.judge import judge_limits, names_usable
from core.opencost.rows import exact_rows
from core.opencost.shape import Row, Rows, decode, decode_rows, span_of
from core.opencost.words import some

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

ROWS_MAX = 200_000
"""Namespaces in one cluster: more is no cluster that Kubernetes could run."""


ALIKE_MAX, ALIKE_ROWS_MAX = 512, 256
"""Answers whose names are remembered, and how many each may have: some 20 MB at most."""
LARGE_MAX, LARGE_ROWS_MAX = 64, 1024
"""The same of larger ones, and of the pieces of large ones: some 12 MB at most."""


@dataclass(frozen=True)
class Question:
    """The bytes of one answer, the hour that was asked for, and what is plausible of it."""

    body: bytes
    hour: datetime | None
    """None takes whatever window the answer says it is of."""
    limits: Limits


@dataclass(frozen=True, eq=False)
class Opened:
    """An answer whose rows are decoded, and its figures not looked at yet."""

    rows: list[Row]
    names: list[str]
    names_usable: bool
    """Whether a database and a screen can hold them, and the cluster's id."""
    cluster_id: str | None
    complaints: list[Complaint]
    """About its names and its window; more may come of its figures."""

    @property
    def first_window(self) -> bytes:
        return bytes(self.rows[0].window)


def open_answer(question: Question) -> Opened:
    """Decode the rows of an answer; AnswerRefused where there are none to show."""
    return _opened(question, *_rows(question.body))


def open_piece(question: Question, piece: bytes) -> Opened:
    """Open a piece of an answer (core.opencost.pieces) as if it were all; errors as there."""
    return _opened(question, *decode_rows(piece))


def _opened(question: Question, rows: Rows, counted: int) -> Opened:
    by_key = _all_there(rows, counted)
    complaints: list[Complaint] = []
    cluster_id, names, usable = _names(tuple(by_key), question.limits, complaints)
    return Opened(list(by_key.values()), names, usable, cluster_id, complaints)


def read_answer(body: bytes, hour: datetime | None, limits: Limits) -> Answer:
    """Read what OpenCost said of `hour`; None takes whatever window the answer says it is of.

    AnswerRefused only where there are no rows to show; all else stands in `complaints`, and
    `Answer.require_believable` raises what decides.
    """
    opened = open_answer(Question(body, hour, limits))
    complaints = opened.complaints
    windows = {bytes(row.window) for row in opened.rows}
    window = window_of(windows, hour, complaints)
    figures = matrix.table([_figures_of(row) for row in opened.rows], len(FIGURES))
    rows = exact_rows(figures, opened.names, _length_minutes(window), complaints)
    answer = Answer(window=window, cluster_id=opened.cluster_id, complaints=complaints, **rows)
    judge_limits(answer, limits, _length_minutes(window) / 60)
    return answer


_figures_of = attrgetter(*FIGURES)


def _refuse(fault: Fault, message: str) -> AnswerRefused:
    return AnswerRefused(fault, message, structural=True)


def _rows(body: bytes) -> tuple[Rows, int]:
    envelope, counted = decode(body)
    if envelope.code != 200:
        message = f"OpenCost answered with code {envelope.code}: {envelope.message[:300]}"
        raise _refuse("error-answer", message)
    sets = envelope.data or []
    if len(sets) > 1:
        raise _refuse("several-sets", f"OpenCost answered with {len(sets)} sets instead of one.")
    return (sets[0] if sets else None) or {}, counted


def _all_there(rows: Rows, counted: int) -> dict[str, Row]:
    if not rows:
        raise _refuse("no-data", "OpenCost has nothing for this hour, not even system namespaces.")
    if None in rows.values():
        empty = [key for key, row in rows.items() if row is None]
        raise _refuse("no-number", f"{some(empty)}: null instead of an allocation.")
    if counted != len(rows):
        message = f"{counted} allocations under {len(rows)} names: a name stands twice."
        raise _refuse("double-name", message)
    if counted > ROWS_MAX:
        raise _refuse("out-of-range", f"{counted} namespaces; at most {ROWS_MAX} are believed.")
    return cast("dict[str, Row]", rows)


def _names(
    keys: tuple[str, ...], limits: Limits, complaints: list[Complaint]
) -> tuple[str | None, list[str], bool]:
    """Split the keys `cluster/namespace`; a namespace cannot hold a slash, a cluster id may."""
    alike = _alike_as_before(keys)
    if alike is not None:
        found, split, usable = alike
        _judge_cluster(found, limits, complaints)
        return found, list(split), usable
    pairs = [key.rpartition("/") for key in keys]
    clusters = {cluster for cluster, slash, _ in pairs if slash}
    names = [name for _, _, name in pairs]
    if len(clusters) > 1:
        complaints.append(
            Complaint(
                "two-clusters",
                f"The answer holds {len(clusters)} clusters ({some(sorted(clusters))}): they share"
                " one Prometheus. Give each its CLUSTER_ID and set"
                " CURRENT_CLUSTER_ID_FILTER_ENABLED=true in OpenCost.",
            )
        )
    elif len(set(names)) != len(names):
        doubles = sorted({name for name in names if names.count(name) > 1})
        complaints.append(Complaint("double-name", f"{some(doubles)}: more than one row."))
    only = next(iter(clusters)) if len(clusters) == 1 else None
    if len(clusters) <= 1:
        _judge_cluster(only, limits, complaints)
    return only, names, names_usable(only, names)


def _alike(keys: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool] | None:
    """Split keys that all begin alike, as almost always, and say whether they are usable.

    None where they do not begin alike.
    """
    cluster, slash, _ = keys[0].rpartition("/")
    start = f"\n{cluster}{slash}"
    text = "\n" + "\n".join(keys)
    as_many = text.count(start) == text.count("\n") == len(keys)
    if not slash or not as_many or text.count("/") != len(keys) * start.count("/"):
        return None
    names = text[len(start) :].split(start)
    return cluster, tuple(names), names_usable(cluster, names)


class _NotKeptError(Exception):
    """What a cache is not to keep: it remembers answers, and no errors."""


def _alike_usable(keys: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool]:
    """Split as `_alike`; _NotKeptError where a name is no name, which may be megabytes long."""
    alike = _alike(keys)
    if alike is None or not alike[2]:
        raise _NotKeptError
    return alike


_alike_again = lru_cache(ALIKE_MAX)(_alike_usable)
_alike_large = lru_cache(LARGE_MAX)(_alike_usable)


def _alike_as_before(keys: tuple[str, ...]) -> tuple[str, tuple[str, ...], bool] | None:
    """Split as `_alike`, and remember.

    Most clusters have the same namespaces hour after hour, and to look at a hundred names costs a
    tenth of what decoding their rows does. A large answer is cut at almost the same places each hour.
    """
    if len(keys) > LARGE_ROWS_MAX:
        return _alike(keys)
    try:
        return (_alike_again if len(keys) <= ALIKE_ROWS_MAX else _alike_large)(keys)
    except _NotKeptError:
        return _alike(keys)


def _judge_cluster(found: str | None, limits: Limits, complaints: list[Complaint]) -> None:
    if limits.cluster_id and found != limits.cluster_id:
        said = f"is of the cluster {found!r}" if found else "names no cluster of its own"
        complaints.append(
            Complaint(
                "other-cluster",
                f"The answer {said}, the one registered is"
                f" {limits.cluster_id!r}. If its CLUSTER_ID was changed on purpose:"
                " `hopsmeter cluster edit … --opencost-cluster-id`.",
            )
        )


def window_of(
    windows: set[bytes], hour: datetime | None, complaints: list[Complaint]
) -> tuple[datetime, datetime] | None:
    """Return the one window of all rows, from their JSON; a complaint where it is not `hour`'s."""
    spans = {(span.start, span.end) for span in map(span_of, windows)}
    texts = sorted(f"{start}/{end}" for start, end in spans)
    parsed = [(_instant(start), _instant(end)) for start, end in spans]
    if len(parsed) != 1 or None in parsed[0]:
        complaints.append(Complaint("other-window", f"The answer is of {some(texts)}."))
        return None
    start, end = parsed[0]
    assert start is not None
    assert end is not None
    if hour is not None and (start, end) != (hour, hour + HOUR):
        asked = f"{hour:%Y-%m-%dT%H:%M:%SZ}/{hour + HOUR:%Y-%m-%dT%H:%M:%SZ}"
        message = f"The answer is of {texts[0]}, asked was {asked}."
        complaints.append(Complaint("other-window", message))
    if end <= start:
        complaints.append(Complaint("other-window", f"The window {texts[0]} ends before it began."))
        return None
    return start, end


def _instant(text: str | None) -> datetime | None:
    if text is None or not _INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _length_minutes(window: tuple[datetime, datetime] | None) -> float:
    return (window[1] - window[0]).total_seconds() / 60 if window else 60.0
