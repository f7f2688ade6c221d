"""Reading while storing yields what reading with care does, or says that it will not do."""

import contextlib
import gc
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import HOUR
from core.errors import AnswerRefused
from core.opencost import stream as module
from core.opencost.answer import Limits
from core.opencost.opening import NotPlainError
from core.opencost.read import Question, read_answer
from core.opencost.stream import Block, Stream, block_of
from tests.answers import HOUR_0, LIMITS, allocation, body, body_of
from tests.core.opencost.test_read import SPOILT

ARRAYS = ("flags", "figures", "efficiency_ppm")


def streamed(questions: Sequence[Question]) -> tuple[Stream, list[Block]]:
    stream = Stream(questions)
    return stream, list(stream.blocks())


def require_alike(questions: Sequence[Question]) -> None:
    """The stream's rows are those of the careful reader, which found nothing wrong with them."""
    stream, blocks = streamed(questions)
    read = [read_answer(each.body, each.hour, each.limits) for each in questions]
    assert [complaint for answer in read for complaint in answer.complaints] == []
    whole = block_of(read)
    for name in ARRAYS:
        found = np.concatenate([getattr(block, name) for block in blocks])
        wanted = getattr(whole, name)
        assert found.dtype == wanted.dtype
        assert (found == wanted).all(), name
    assert stream.summaries() == [answer.summary for answer in read]
    parts = [part for block in blocks for part in block.parts]
    for number, answer in enumerate(read):
        ours = [part for part in parts if part.number == number]
        assert [name for part in ours for name in stream.names(part)] == answer.names
        assert stream.whole(ours[0]) == answer.names
    rows = [(part.number, row) for each in blocks for part in each.parts for row in _rows(part)]
    assert rows == [(n, row) for n, answer in enumerate(read) for row in range(len(answer.names))]


def _rows(part: module.Part) -> range:
    return range(part.first, part.first + part.count)


figures = st.floats(-1e4, 1e4).map(lambda each: round(each, 5)) | st.floats(-1e3, 1e3)
odd = st.none() | st.sampled_from([1e30, -5.0, 61.0, 10_001.0, 2.0**51])
fields = st.sampled_from(
    [
        "cpuCost",
        "totalCost",
        "ramCost",
        "minutes",
        "cpuCoreHours",
        "ramByteHours",
        "pvCost",
        "networkTransferBytes",
        "totalEfficiency",
        "cpuCostAdjustment",
        "gpuHours",
    ]
)
rows_plain = st.dictionaries(fields, st.floats(0, 60), max_size=3)
rows_any = st.dictionaries(fields, figures | odd, max_size=3)
names = st.sampled_from([f"ns-{n}" for n in range(40)] + ["__idle__", "__unmounted__"])


def bodies_of(rows: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    return st.dictionaries(names, rows, max_size=12).map(
        lambda named: body_of(
            {"kube-system": allocation()}
            | {name: allocation(**changed) for name, changed in named.items()}
        )
    )


@given(st.lists(bodies_of(rows_plain), min_size=1, max_size=6), st.sampled_from([1, 3, 7, 512]))
def test_what_is_streamed_is_what_is_read(bodies: list[bytes], rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "FIRST_ROWS", rows)
        patch.setattr(module, "BLOCK_ROWS", 2 * rows)
        require_alike([Question(each, HOUR_0, LIMITS) for each in bodies])


@given(bodies_of(rows_any))
def test_what_is_refused_is_never_streamed(content: bytes) -> None:
    question = Question(content, HOUR_0, LIMITS)
    try:
        streamed([question])
    except NotPlainError:
        return
    require_alike([question])


@pytest.mark.parametrize("what", SPOILT)
def test_no_spoilt_answer_is_streamed(what: str) -> None:
    good = Question(body(["a"]), HOUR_0, LIMITS)
    with pytest.raises(NotPlainError):
        streamed([good, Question(SPOILT[what][0], HOUR_0, LIMITS)])


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        (body(["a"]), replace(LIMITS, cluster_id="another")),
        (body(["a"]), replace(LIMITS, cost_max_nano=10**7)),
        (body(["a"]), replace(LIMITS, sentinel="always-there")),
        (body(["a"]).replace(b'"end": "2026', b'"end": "2027', 1), LIMITS),
        (body(["a"]).replace(b'"minutes": 60', b'"minutes": null', 1), LIMITS),
        (body(["a"]).replace(b'"window": {', b'"wnd": {', 1), LIMITS),
    ],
)
def test_what_is_not_plain_is_read_with_care(content: bytes, limits: Limits) -> None:
    with pytest.raises(NotPlainError):
        streamed([Question(content, HOUR_0, limits)])
    with pytest.raises(AnswerRefused):
        read_answer(content, HOUR_0, limits).require_believable()


def test_answers_of_several_hours_and_windows_of_other_spelling_share_a_block() -> None:
    later = HOUR_0 + HOUR
    spaced = body(["c"]).replace(b'"window": {', b'"window":  {')
    require_alike(
        [Question(body(["a"]), HOUR_0, LIMITS), Question(body(["b"], later), later, LIMITS)]
    )
    require_alike([Question(spaced, HOUR_0, LIMITS)])


def test_a_limit_is_of_the_whole_answer_however_many_blocks_it_has() -> None:
    content = body({f"n{number}": 1.0 for number in range(1_200)})
    spent = read_answer(content, HOUR_0, LIMITS).total_nano
    enough = replace(LIMITS, cost_max_nano=int(spent * 1.01))
    require_alike([Question(content, HOUR_0, enough)])
    with pytest.raises(NotPlainError):
        streamed([Question(content, HOUR_0, replace(LIMITS, cost_max_nano=int(spent * 0.99)))])


def test_a_window_that_says_much_more_is_not_remembered() -> None:
    """Of up to 128 MiB an answer, and another one each time: whoever sends it fills no memory."""
    tracemalloc.start()
    try:
        for number in range(5):
            window = allocation()["window"] | {"said": f"{number}{'x' * 1_000_000}"}
            rows = {"kube-system": allocation(window=window)}
            with contextlib.suppress(NotPlainError):
                streamed([Question(body_of(rows), HOUR_0, LIMITS)])
            del window, rows
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
