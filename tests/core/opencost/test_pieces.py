"""An answer in pieces says what it says as a whole, or is not taken in pieces at all."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import AnswerRefused
from core.opencost import stream as module
from core.opencost.opening import NotPlainError, Opening
from core.opencost.pieces import pieces_of
from core.opencost.read import Question, read_answer
from core.opencost.shape import decode, decode_rows
from tests.answers import HOUR_0, LIMITS, allocation, body_of
from tests.core.opencost.test_stream import require_alike, streamed

ROW = json.dumps(allocation(), separators=(",", ":"))
CUT = '},"default-cluster/'


def answer(*rows: str, end: str = "}]}") -> bytes:
    """An answer of plain rows and of those given, each `"key":{…}`, written as OpenCost does."""
    plain = [f'"default-cluster/{name}":{ROW}' for name in ("kube-system", "a", "b", "c")]
    members = ",".join([*plain, *rows, f'"default-cluster/z":{ROW}'])
    return ('{"code":200,"status":"success","data":[{' + members + end).encode()


def row(**fields: Any) -> str:
    return json.dumps(allocation(**fields), separators=(",", ":"))


@pytest.fixture(autouse=True)
def cut_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take any comma for a cut that looks like one: two bytes are enough for a piece."""
    monkeypatch.setattr(module, "FIRST_ROWS", 2)
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    monkeypatch.setattr(module, "ROW_BYTES", 1)


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    cut = pieces_of(body)
    assert cut is not None
    while (piece := cut.next(size)) is not None:
        yield piece


def prove_one_truth(body: bytes) -> None:
    """What is streamed in pieces is what reading the whole with care says; or nothing is."""
    question = Question(body, HOUR_0, LIMITS)
    try:
        streamed([question])
    except NotPlainError:
        return
    require_alike([question])


def test_an_answer_of_opencost_is_cut_between_its_rows() -> None:
    assert [json.loads(piece).keys() for piece in pieces(answer(), 1)] == [
        {f"default-cluster/{name}"} for name in ("kube-system", "a", "b", "c", "z")
    ]
    require_alike([Question(answer(), HOUR_0, LIMITS)])


def test_a_small_rest_goes_with_the_piece_before_it() -> None:
    body = answer(f'"default-cluster/x":{ROW}', f'"default-cluster/y":{ROW}')
    sizes = [len(json.loads(piece)) for piece in pieces(body, int(2.2 * len(ROW)))]
    assert sizes == [3, 4]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"code":200,"status":"success","data":[{}]}',
        answer().replace(b'"code":200', b'"code":500'),
        answer().replace(b'"code":200', b'"code":2000'),
        answer().replace(b'"status":"success"', b'"status":"failure"'),
        answer().replace(b'{"code"', b'{"message":"","code"', 1),
        answer().replace(b"default-cluster/", b""),
        b"\xef\xbb\xbf" + answer(),
        b"\x0b" + answer(),
        answer(end='}],"message":""}'),
        answer(end="}]}{}"),
        answer(end="}"),
    ],
)
def test_what_does_not_begin_and_end_as_opencosts_answers_do_is_left_whole(body: bytes) -> None:
    assert pieces_of(body) is None


HOSTILE = {
    "a cut within a string": answer(f'"default-cluster/x":{row(name="}" + CUT[1:])}'),
    "an escaped quote": answer(f'"default-cluster/x":{row(name=CUT + chr(34) + ":{")}'),
    "a cut within a nested object": answer(
        f'"default-cluster/x":{row(labels={"a": {}, "default-cluster/y": allocation()})}'
    ),
    "rows nested in a row": answer(f'"default-cluster/x":{row(deep=json.loads(answer()))}'),
    "a set that closes and another key": answer(
        f'"default-cluster/x":{ROW}}}],"other":[{{"default-cluster/y":{ROW}'
    ),
    "a second key data": answer(
        f'"default-cluster/x":{ROW}}}],"data":[{{"default-cluster/y":{ROW}'
    ),
    "another code later": answer(
        f'"default-cluster/x":{ROW}}}],"code":500,"data":[{{"default-cluster/y":{ROW}'
    ),
    "several sets": answer(f'"default-cluster/x":{ROW}}},{{"default-cluster/y":{ROW}'),
    "a set and null": answer(f'"default-cluster/x":{ROW}}},null,{{"default-cluster/y":{ROW}'),
    "an answer after the answer": answer(
        f'"default-cluster/x":{ROW}}}]}}{{"code":200,"data":[{{"default-cluster/y":{ROW}'
    ),
    "a name in two pieces": answer(f'"default-cluster/a":{ROW}'),
    "a name in two spellings": answer(f'"default-cluster/\\u0061":{ROW}'),
    "two clusters": answer(f'"other/x":{ROW}'),
    "a name without a cluster": answer(f'"x":{ROW}'),
    "a cluster within a cluster": answer(f'"default-cluster/deep/x":{ROW}'),
    "a row of null": answer('"default-cluster/x":null'),
    "a row that is a list": answer('"default-cluster/x":[{}]'),
    "two commas": answer("", f'"default-cluster/x":{ROW}'),
    "a comma at the end": answer(end=",}]}"),
    "a brace too few": answer(f'"default-cluster/x":{ROW[:-1]}'),
    "a brace too many": answer(f'"default-cluster/x":{ROW}}}'),
    "a comment": answer(f'/*"default-cluster/x":{ROW}*/'),
    "a byte that is no text": answer(f'"default-cluster/x":{ROW}').replace(b"x", b"\xff"),
    "another hour in a later piece": answer(
        f'"default-cluster/x":{ROW.replace("T14", "T13").replace("T15", "T14")}'
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_answer_is_read_differently_in_pieces(what: str) -> None:
    prove_one_truth(HOSTILE[what])


READABLE = {
    "a cut within a string",
    "an escaped quote",
    "a cut within a nested object",
    "rows nested in a row",
    "a name without a cluster",
}


@pytest.mark.parametrize("what", sorted(HOSTILE.keys() - READABLE))
def test_nothing_of_a_broken_answer_is_streamed(what: str) -> None:
    with pytest.raises(NotPlainError):
        streamed([Question(HOSTILE[what], HOUR_0, LIMITS)])


@pytest.mark.parametrize("what", sorted(READABLE))
def test_what_can_be_read_whole_is_refused_by_nobody(what: str) -> None:
    """Where a cut falls badly, the careful reader takes the answer as it is."""
    read_answer(HOSTILE[what], HOUR_0, LIMITS).require_believable()


def test_rows_that_the_whole_drops_are_not_stored_for_the_pieces() -> None:
    """The whole is valid JSON and holds fewer rows than its pieces would, taken as envelopes."""
    body = HOSTILE["a set that closes and another key"]
    envelope, _ = decode(body)
    assert envelope.data is not None
    assert [len(rows or {}) for rows in envelope.data] == [5]
    with pytest.raises(NotPlainError):
        streamed([Question(body, HOUR_0, LIMITS)])


def test_a_cut_within_a_nested_object_leaves_no_object() -> None:
    with pytest.raises(AnswerRefused):
        list(map(decode_rows, pieces(HOSTILE["a cut within a nested object"], 1)))


tokens = st.sampled_from(
    [
        *(CUT, '"', "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "1", "null", '"a":{}'),
        *('"data":[{', "}]", '}],"x":[{', "}]}"),
        *(f'"default-cluster/n":{ROW}', f',"default-cluster/n":{ROW}'),
    ]
)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), tokens | st.just("")), max_size=5)


@settings(max_examples=400)
@given(edits, st.sampled_from([1, 3, 700]))
@example([(0.5, 0, CUT)], 1)
def test_however_an_answer_is_mangled_there_is_one_truth(
    edits: list[tuple[float, int, str]], size: int
) -> None:
    text = answer().decode()
    for where, cut, token in edits:
        at = int(where * len(text))
        text = text[:at] + token + text[at + cut :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_BYTES", size)
        prove_one_truth(text.encode())


members = st.lists(
    st.sampled_from(
        [
            f'"default-cluster/x":{ROW}',
            f'"default-cluster/y":{row(name=CUT)}',
            f'"default-cluster/w":{row(labels={"a": {}, "default-cluster/v": {}})}',
            f'"default-cluster/x":{ROW}}}],"other":[{{"default-cluster/y":{ROW}',
            f'"default-cluster/v":{ROW}}}],"data":[{{"default-cluster/u":{ROW}',
            f'"default-cluster/t":{ROW}}},{{"default-cluster/s":{ROW}',
            '"default-cluster/r":{"name":"',
            '"}',
            f'"default-cluster/q":{ROW}}}]}},[{{"a":[{{"default-cluster/p":{ROW}',
        ]
    ),
    max_size=6,
)


@settings(max_examples=300)
@given(members)
def test_however_sets_close_and_open_there_is_one_truth(members: list[str]) -> None:
    prove_one_truth(answer(*members))


@given(st.integers(1, 40), st.integers(1, 30_000))
def test_pieces_of_any_size_are_the_whole(rows: int, size: int) -> None:
    body = body_of({"kube-system": allocation()} | {f"n{n}": allocation() for n in range(rows)})
    whole, _ = decode(body)
    joined = [pair for piece in pieces(body, size) for pair in decode_rows(piece)[0].items()]
    assert whole.data is not None
    assert joined == list((whole.data[0] or {}).items())


def test_what_is_opened_whole_has_all_rows_waiting() -> None:
    """Who asks for all names in mid-stream loses no row, and opens none twice."""
    opening = Opening(Question(answer(), HOUR_0, LIMITS))
    assert opening.more(1)
    first = opening.take(1)
    assert opening.whole() == ["kube-system", "a", "b", "c", "z"]
    assert (len(first), len(opening.rows), opening.more(1)) == (1, 4, False)


def test_an_answer_of_many_blocks_is_that_of_the_careful_reader() -> None:
    rows = {f"n{number:04}": allocation(cpuCost=number / 8) for number in range(400)}
    require_alike([Question(body_of({"kube-system": allocation()} | rows), HOUR_0, LIMITS)])


def test_a_refusal_within_a_piece_is_the_careful_readers_to_tell() -> None:
    body = answer(f'"default-cluster/x":{row(totalCost=None)}')
    with pytest.raises(NotPlainError):
        streamed([Question(body, HOUR_0, LIMITS)])
    with pytest.raises(AnswerRefused, match=r"x\.total_cost"):
        read_answer(body, HOUR_0, LIMITS).require_believable()
