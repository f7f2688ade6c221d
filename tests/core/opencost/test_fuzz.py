"""Whatever comes over the wire, the reader says a sentence or exact rows, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AnswerRefused
from core.opencost.answer import TOTAL, Answer
from core.opencost.read import read_answer
from tests.answers import HOUR_0, LIMITS, allocation, body

GOOD = body(["ml-train", "etl"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([{}, [], "2026-03-01T14:00:00Z", "null", 1e308])
)


def is_for_people(message: str) -> bool:
    return message.replace("\N{NARROW NO-BREAK SPACE}", "").isprintable()


def read(content: bytes) -> Answer | AnswerRefused:
    try:
        return read_answer(content, HOUR_0, LIMITS)
    except AnswerRefused as refused:
        return refused


def assert_reads_or_refuses(content: bytes) -> None:
    answer = read(content)
    if isinstance(answer, AnswerRefused):
        assert answer.structural
        assert is_for_people(answer.message)
        return
    rows = len(answer.names)
    assert len(answer.money) == len(answer.quantities) == len(answer.efficiency_ppm) == rows
    assert len(answer.special) == len(answer.flags) == rows
    if answer.refusal is None or not answer.refusal.structural:
        assert len(set(answer.names)) == rows
        assert all(name and name.isprintable() for name in answer.names)
        assert (answer.money[:, :TOTAL].sum(axis=1) == answer.money[:, TOTAL]).all()
    assert all(is_for_people(complaint.message) for complaint in answer.complaints)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    assert_reads_or_refuses(content)


@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 12))
@settings(max_examples=300)
def test_an_answer_with_bytes_changed_is_read_or_refused(at: int, new: bytes, cut: int) -> None:
    assert_reads_or_refuses(GOOD[:at] + new + GOOD[at + cut :])


@given(
    st.dictionaries(
        st.text(max_size=12),
        st.none() | st.dictionaries(st.sampled_from([*allocation(), "other"]), leaves, max_size=6),
        max_size=5,
    ),
    st.sampled_from([{}, {"code": 200}, {"code": 404}, {"code": 200, "status": None}]),
)
@settings(max_examples=300)
def test_any_shape_of_rows_is_read_or_refused(
    rows: dict[str, dict[str, Any] | None], envelope: dict[str, Any]
) -> None:
    for name in list(rows):
        row = rows[name]
        rows[name] = None if row is None else allocation() | row
    assert_reads_or_refuses(json.dumps({**envelope, "data": [rows]}).encode())


@given(
    st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["code", "data", "message", "c/a"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(document: Any) -> None:
    assert_reads_or_refuses(json.dumps(document).encode())


@pytest.mark.parametrize("bracket", ["[]", "{}"])
@pytest.mark.parametrize("where", ["x", "data", "message"])
def test_brackets_without_end_are_refused(bracket: str, where: str) -> None:
    opening = bracket[0] if bracket == "[]" else '{"a":'
    deep = opening * 200_000 + bracket[1] * 200_000
    with pytest.raises(AnswerRefused):
        read_answer(f'{{"code":200,"{where}":{deep}}}'.encode(), HOUR_0, LIMITS)
