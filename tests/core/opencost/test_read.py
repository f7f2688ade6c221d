"""The strict reader: every fault by its name, and nothing made to fit."""

import gc
import json
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import HOUR
from core.errors import AnswerRefused
from core.opencost.answer import (
    FLAG_NEGATIVE_COST,
    FLAG_NEGATIVE_MINUTES,
    IDLE,
    MONEY_COLUMNS,
    QUANTITY_COLUMNS,
    TOTAL,
    UNMOUNTED,
    Answer,
    Limits,
)
from core.opencost.figures import INT64_MAX
from core.opencost.read import read_answer
from tests.answers import HOUR_0, LIMITS, allocation, body, body_of

KINDS = ("cpu", "gpu", "ram", "pv", "network", "loadBalancer", "shared", "external")
ADJUSTED = ("cpu", "gpu", "ram", "pv", "network", "loadBalancer")


def read(content: bytes, **limits: Any) -> Answer:
    return read_answer(content, HOUR_0, replace(LIMITS, **limits))


def read_rows(**rows: dict[str, Any]) -> Answer:
    """Read an answer of these rows and the sentinel; `_` in a name stands for `-`."""
    named = {
        name if name.startswith("__") else name.replace("_", "-"): row for name, row in rows.items()
    }
    return read(body_of({"kube-system": allocation(), **named}))


def faults(answer: Answer) -> list[str]:
    return [complaint.fault for complaint in answer.complaints]


def refused(content: bytes, hour: Any = HOUR_0, limits: Limits = LIMITS) -> AnswerRefused:
    """What decides against an answer, however it comes out."""
    with pytest.raises(AnswerRefused) as caught:
        read_answer(content, hour, limits).require_believable()
    return caught.value


def column(answer: Answer, name: str, namespace: str) -> int:
    row = answer.names.index(namespace)
    if name in MONEY_COLUMNS:
        return int(answer.money[row, MONEY_COLUMNS.index(name)])
    return int(answer.quantities[row, QUANTITY_COLUMNS.index(name)])


# ── what is right ───────────────────────────────────────────────────────────────────────────


def test_a_good_answer_has_no_complaint() -> None:
    answer = read(body(["ml-train", "etl"]))
    assert answer.complaints == []
    assert answer.remarks == []
    assert answer.window == (HOUR_0, HOUR_0 + HOUR)
    assert answer.cluster_id == "default-cluster"
    assert answer.names == ["kube-system", "__idle__", "ml-train", "etl"]
    assert answer.special.tolist() == [0, IDLE, 0, 0]


money = st.integers(-(10**11), 10**11).map(lambda k: str(Decimal(k).scaleb(-5)))
hours = st.integers(0, 10**9).map(lambda k: str(Decimal(k).scaleb(-5)))
row_texts = st.fixed_dictionaries(
    {f"{kind}Cost": money for kind in KINDS}
    | {f"{kind}CostAdjustment": money for kind in ADJUSTED}
    | {"totalCost": money, "cpuCoreHours": hours, "gpuHours": hours}
)
ANYTHING = Limits(2**62, 2**31 - 1, 2**31 - 1, 2**62, sentinel="")


def written(texts: dict[str, str]) -> str:
    """A row as text, so that the figures are the ones a person reads."""
    row = allocation()
    for name in texts:
        row.pop(name, None)
    figures = ",".join(f'"{name}":{text}' for name, text in texts.items())
    return json.dumps(row)[:-1] + "," + figures + "}"


@given(st.lists(row_texts, min_size=1, max_size=8))
def test_each_figure_is_the_one_a_person_reads(texts: list[dict[str, str]]) -> None:
    rows = ",".join(f'"c/ns-{number}":{written(row)}' for number, row in enumerate(texts))
    answer = read_answer(f'{{"code":200,"data":[{{{rows}}}]}}'.encode(), HOUR_0, ANYTHING)
    assert not [fault for fault in faults(answer) if fault != "implausible-cost"]
    for number, row in enumerate(texts):
        nano = {name: int(Decimal(text).scaleb(9)) for name, text in row.items()}
        kinds = [nano[f"{kind}Cost"] for kind in KINDS]
        adjusted = sum(nano[f"{kind}CostAdjustment"] for kind in ADJUSTED)
        total = nano["totalCost"]
        rounding = total - sum(kinds) - adjusted
        assert answer.money[number].tolist() == [*kinds, adjusted, rounding, total]
        assert column(answer, "cpu_core_hours_micro", f"ns-{number}") == int(
            Decimal(row["cpuCoreHours"]).scaleb(6)
        )
    assert answer.total_nano == sum(int(Decimal(row["totalCost"]).scaleb(9)) for row in texts)


def test_kinds_adjustment_and_rounding_are_always_the_total() -> None:
    answer = read_rows(a=allocation(cpuCost=1.00001, cpuCostAdjustment=-0.5, totalCost=0.51835))
    assert (answer.money[:, :TOTAL].sum(axis=1) == answer.money[:, TOTAL]).all()
    assert column(answer, "adjustment_nano", "a") == -500_000_000
    assert column(answer, "rounding_nano", "a") == 10_000


def test_a_figure_with_more_than_nine_decimals_is_rounded_once() -> None:
    answer = read_rows(a=allocation(cpuCost=0.00000000250000001, ramCost=0.0000000015))
    assert column(answer, "cpu_nano", "a") == 3
    assert column(answer, "ram_nano", "a") == 2


def test_fields_that_some_versions_leave_out_are_none_of_ours_to_ask() -> None:
    needed = {"window", "minutes", "cpuCost", "ramCost", "totalCost"}
    answer = read_rows(a={k: v for k, v in allocation().items() if k in needed})
    assert answer.complaints == []
    assert column(answer, "gpu_nano", "a") == 0
    assert answer.efficiency_ppm[answer.names.index("a")] == -1


@pytest.mark.parametrize(
    ("said", "kept"), [(0.5, 500_000), (0, 0), (None, -1), (-0.1, -1), (2001, -1), (1.7, 1_700_000)]
)
def test_an_efficiency_that_means_nothing_is_none(said: float | None, kept: int) -> None:
    answer = read_rows(a=allocation(totalEfficiency=said))
    assert answer.complaints == []
    assert answer.efficiency_ppm[answer.names.index("a")] == kept


def test_a_cluster_id_may_hold_slashes() -> None:
    answer = read(body(["a"], cluster="org/eu/1"))
    assert (answer.cluster_id, answer.names[-1]) == ("org/eu/1", "a")


def test_an_answer_is_read_for_whatever_hour_it_says_when_none_was_asked() -> None:
    other = HOUR_0 - 5 * HOUR
    answer = read_answer(body(["a"], other), None, LIMITS)
    assert (answer.window, answer.complaints) == ((other, other + HOUR), [])


def test_unmounted_volumes_are_a_kind_of_their_own() -> None:
    answer = read_rows(__unmounted__=allocation(cpuCost=0, ramCost=0))
    assert answer.special.tolist() == [0, UNMOUNTED]


# ── odd, and kept ───────────────────────────────────────────────────────────────────────────


def test_a_negative_cost_is_kept_and_flagged() -> None:
    answer = read_rows(a=allocation(cpuCost=-2.5))
    assert answer.complaints == []
    assert column(answer, "cpu_nano", "a") == -2_500_000_000
    assert answer.flags[answer.names.index("a")] == FLAG_NEGATIVE_COST
    assert answer.remarks == ["negative-cost"]


def test_negative_minutes_without_money_are_kept_and_flagged() -> None:
    free: dict[str, Any] = dict.fromkeys([k for k in allocation() if "Cost" in k], 0)
    answer = read_rows(a=allocation(**free, minutes=-2.45))
    assert answer.complaints == []
    assert answer.flags[answer.names.index("a")] == FLAG_NEGATIVE_MINUTES
    assert column(answer, "minutes_micro", "a") == -2_450_000
    assert answer.remarks == ["negative-minutes"]


def test_parts_that_are_far_from_their_total_are_remarked() -> None:
    answer = read_rows(a=allocation(cpuCost=1, totalCost=2))
    assert (answer.complaints, answer.remarks) == ([], ["parts-differ"])


@pytest.mark.parametrize(
    "field", ["cpuCost", "totalCost", "minutes", "ramByteHours", "networkTransferBytes"]
)
@pytest.mark.parametrize("figure", [None, 1e30])
def test_an_idle_row_that_cannot_be_read_fails_nobody(field: str, figure: float | None) -> None:
    odd: dict[str, Any] = {field: figure}
    answer = read_rows(__idle__=allocation(**odd), a=allocation())
    assert answer.complaints == []
    assert answer.names == ["kube-system", "a"]
    assert answer.remarks == ["idle-unreadable"]
    assert len(answer.money) == len(answer.quantities) == len(answer.flags) == 2


@pytest.mark.parametrize(
    "odd", [{"cpuCost": -100_000_000}, {"cpuCoreHours": 1e8}, {"minutes": -4e6}]
)
def test_an_implausible_idle_row_is_kept_and_fails_nobody(odd: dict[str, Any]) -> None:
    answer = read_rows(__idle__=allocation(**odd), a=allocation())
    assert answer.complaints == []
    assert "__idle__" in answer.names
    if "minutes" not in odd:
        assert "idle-implausible" in answer.remarks


# ── refused, by name ────────────────────────────────────────────────────────────────────────


def one_row(**fields: Any) -> bytes:
    return body_of({"kube-system": allocation(), "a": allocation(**fields)})


def two_sets() -> bytes:
    answer = json.loads(body(["a"]))
    answer["data"] *= 2
    return json.dumps(answer).encode()


def two_clusters() -> bytes:
    rows = {"one/kube-system": allocation(), "two/a": allocation()}
    return json.dumps({"code": 200, "data": [rows]}).encode()


def mixed_windows() -> bytes:
    return body_of({"kube-system": allocation(), "a": allocation(HOUR_0 + HOUR)})


def said_twice() -> bytes:
    row = json.dumps(allocation())
    return (f'{{"code":200,"data":[{{"c/kube-system":{row},"c/a":{row},"c/a":{row}}}]}}').encode()


def counted_by_itself() -> bytes:
    """The second row says that it was counted, in the word by which our decoder counts."""
    row, counted = allocation(), json.dumps({"hopsmeter counted": None, **allocation()})
    rows = f'"c/kube-system":{json.dumps(row)},"c/a":{json.dumps(row)},"c/a":{counted}'
    return f'{{"code":200,"data":[{{{rows}}}]}}'.encode()


def two_idle_rows() -> bytes:
    """Two clusters in one Prometheus, and the idle row of one of them is a null."""
    rows = {
        "one/kube-system": allocation(),
        "one/__idle__": allocation(cpuCost=None),
        "two/__idle__": allocation(),
        "two/a": allocation(cpuCost=None),
    }
    return json.dumps({"code": 200, "data": [rows]}).encode()


def with_and_without_cluster() -> bytes:
    rows = {"c/kube-system": allocation(), "c/a": allocation(), "a": allocation()}
    return json.dumps({"code": 200, "data": [rows]}).encode()


def no_total() -> bytes:
    row = allocation()
    del row["totalCost"]
    return body_of({"kube-system": allocation(), "a": row})


SPOILT: dict[str, tuple[bytes, str, bool]] = {
    "another hour": (body(["a"], HOUR_0 - HOUR), "other-window", True),
    "a sliding window": (body(["a"], HOUR_0 + timedelta(minutes=30)), "other-window", True),
    "two windows": (mixed_windows(), "other-window", True),
    "no window": (one_row(window={}), "other-window", True),
    "an open window": (one_row(window={"start": "null", "end": "null"}), "other-window", True),
    "two sets": (two_sets(), "several-sets", True),
    "two clusters": (two_clusters(), "two-clusters", True),
    "two clusters, one's idle row unreadable": (two_idle_rows(), "two-clusters", True),
    "a name twice in the text": (said_twice(), "double-name", True),
    "a row that our decoder cannot count": (counted_by_itself(), "not-json", True),
    "a name twice by cluster": (with_and_without_cluster(), "double-name", True),
    "a null total": (one_row(totalCost=None), "no-number", True),
    "a null part": (one_row(pvCost=None), "no-number", True),
    "a null for minutes": (one_row(minutes=None), "no-number", True),
    "null bytes": (one_row(ramByteHours=None), "no-number", True),
    "no total": (no_total(), "no-number", True),
    "null for a row": (
        b'{"code":200,"data":[{"c/kube-system":null,"c/a":null}]}',
        "no-number",
        True,
    ),
    "a cost beyond all": (one_row(cpuCost=-1.97e25), "out-of-range", True),
    "hours beyond all": (one_row(cpuCoreHours=-1.39e14), "out-of-range", True),
    "no sets": (b'{"code":200,"data":[]}', "no-data", True),
    "null for sets": (b'{"code":200,"data":null}', "no-data", True),
    "an empty set": (b'{"code":200,"data":[{}]}', "no-data", True),
    "a null set": (b'{"code":200,"data":[null]}', "no-data", True),
    "nothing": (b"", "not-json", True),
    "a page": (b"<html>502 Bad Gateway</html>", "not-json", True),
    "half an answer": (body(["a"])[:-40], "not-json", True),
    "a list": (b"[]", "not-json", True),
    "an error": (b'{"code":500,"message":"prometheus timed out"}', "error-answer", True),
    "minutes below zero that cost": (one_row(minutes=-0.001), "minutes", False),
    "more than an hour": (one_row(minutes=60.011), "minutes", False),
    "too dear": (one_row(cpuCost=10_001), "implausible-cost", False),
    "too dear below zero": (one_row(cpuCost=-10_001), "implausible-cost", False),
    "parts too dear": (one_row(cpuCost=10_001, totalCost=0), "implausible-cost", False),
    "too many cores": (one_row(cpuCoreHours=10_001), "implausible-hours", False),
    "too many gpus": (one_row(gpuHours=1_001), "implausible-hours", False),
    "too much memory": (one_row(ramByteHours=2.0**51), "implausible-hours", False),
    "no sentinel": (body_of({"a": allocation()}), "no-sentinel", False),
    "nobody's row": (one_row().replace(b'/a"', b'/"'), "no-name", True),
    "a name with a zero byte": (one_row().replace(b'/a"', b'/a\\u0000"'), "no-name", True),
    "a name without end": (one_row().replace(b'/a"', b"/" + b"a" * 300 + b'"'), "no-name", True),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_wrong_is_refused_by_its_name(what: str) -> None:
    content, fault, structural = SPOILT[what]
    refusal = refused(content)
    assert (refusal.fault, refusal.structural) == (fault, structural)
    assert refusal.message


@pytest.mark.parametrize("what", [what for what in SPOILT if not SPOILT[what][2]])
def test_only_judgement_can_be_overruled(what: str) -> None:
    read_answer(SPOILT[what][0], HOUR_0, LIMITS).require_believable(accepted=True)
    both = json.loads(SPOILT[what][0])
    both["data"][0]["default-cluster/broken"] = allocation(totalCost=None)
    with pytest.raises(AnswerRefused) as caught:
        read_answer(json.dumps(both).encode(), HOUR_0, LIMITS).require_believable(accepted=True)
    assert caught.value.structural


def test_another_cluster_than_the_registered_is_refused() -> None:
    known = replace(LIMITS, cluster_id="default-cluster")
    assert read_answer(body(["a"]), HOUR_0, known).complaints == []
    other = refused(body(["a"], cluster="eu-2"), limits=known)
    assert (other.fault, other.structural) == ("other-cluster", True)


def test_an_answer_without_a_cluster_is_refused_where_one_is_registered() -> None:
    """We ask for rows by cluster and namespace: one by namespace may be the sum of two clusters."""
    rows = {"kube-system": allocation(), "a": allocation()}
    content = json.dumps({"code": 200, "data": [rows]}).encode()
    assert faults(read(content)) == []
    answer = read(content, cluster_id="default-cluster")
    assert faults(answer) == ["other-cluster"]
    assert "names no cluster" in answer.complaints[0].message
    assert faults(read(two_clusters(), cluster_id="one")) == ["two-clusters"]


@pytest.mark.parametrize(
    "literal", ["1e999", "-1e999", "NaN", "Infinity", '"12"', "true", "9" * 400]
)
def test_what_no_json_number_can_say_names_namespace_and_field(literal: str) -> None:
    content = one_row(cpuCost=0.31337).replace(b"0.31337", literal.encode(), 1)
    refusal = refused(content)
    assert refusal.fault == "no-number"
    assert "a.cpuCost" in refusal.message


def test_a_null_names_namespace_and_field() -> None:
    assert "a.total_cost" in refused(one_row(totalCost=None)).message


def test_limits_hold_to_the_nano() -> None:
    at_most = body_of({"kube-system": allocation(cpuCost=1, ramCost=0, pvCost=0)})
    assert read(at_most, cost_max_nano=10**9).complaints == []
    assert faults(read(at_most, cost_max_nano=10**9 - 1)) == ["implausible-cost"]


def test_a_day_of_the_dearest_hours_fits_the_books() -> None:
    most = 3 * 10**8
    rows = {f"n{number}": allocation(cpuCost=most, ramCost=-most) for number in range(2)}
    refusal = refused(body_of(rows), limits=ANYTHING)
    assert (refusal.fault, refusal.structural) == ("out-of-range", True)
    fine = read_answer(body_of({"a": allocation(cpuCost=10**8)}), HOUR_0, ANYTHING)
    assert fine.complaints == []
    assert 24 * int(np.abs(fine.money).sum()) <= INT64_MAX


def test_what_opencost_says_of_itself_is_shown_without_its_tricks() -> None:
    refusal = refused(b'{"code":500,"message":"bad\\u0000 \\u001b[31mred"}')
    assert refusal.fault == "error-answer"
    assert refusal.message.isprintable()
    assert "red" in refusal.message


@pytest.mark.parametrize("namespaces", [100, 400])
def test_names_that_are_none_are_not_remembered(namespaces: int) -> None:
    """Of up to 128 MiB an answer, and other ones each time: whoever sends them fills no memory."""
    tracemalloc.start()
    try:
        for number in range(5):
            long = "x" * (2_000_000 // namespaces)
            assert faults(
                read(body([f"{number}-{each}-{long}" for each in range(namespaces)]))
            ) == ["no-name"]
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2_000_000
    finally:
        tracemalloc.stop()
