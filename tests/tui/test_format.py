"""Figures, ages and cells as people read them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.theme import Theme

from core.clock import HOUR
from core.money import NANO_MAX
from core.reports.costs import Totals, Unmapped
from core.reports.hours import HourState, HourStrip
from core.reports.session import Session
from tests.factories import NOW
from tui import format as fmt
from tui import theme
from tui.present import chrome, cluster, overview, pages
from tui.present.overview import (
    CLUSTER_COLUMNS,
    legend_line,
    map_columns,
    map_hours,
    map_since,
    unmapped_rows,
)
from tui.present.tiles import tiles
from tui.rows import Column, Row, keep, order, place
from tui.screens.view import WIDE_FROM
from tui.signs import CLUSTERS, DAEMONS, HOURS

THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "<0.01"),
        (-1, "-<0.01"),
        (5_000_000, "0.00"),
        (15_000_000, "0.02"),
        (1_234_500_000_000, f"1{THIN}234.50"),
        (-2_000_000_000, "-2.00"),
        (NANO_MAX, f"9{THIN}223{THIN}372{THIN}037"),
    ],
)
def test_money_keeps_every_digit_before_the_point(nano: int, text: str) -> None:
    assert fmt.money(nano) == text


@given(st.integers(-NANO_MAX, NANO_MAX))
def test_money_always_fits_its_column(nano: int) -> None:
    assert cell_len(fmt.money(nano)) <= fmt.MONEY_WIDTH + (nano < 0)


@given(st.text(), st.integers(0, 40), st.sampled_from(["left", "right"]))
def test_any_text_fills_its_cell_exactly(text: str, width: int, align: fmt.Align) -> None:
    fitted = fmt.fit(text, width, align)
    assert cell_len(fitted) == width
    assert not set(fitted) & set("\n\r\t\x1b\x9b\u202e\u200b")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_599, "59 min"),
        (86_399, "23 h"),
        (200_000, "2 d"),
    ],
)
def test_an_age_is_told_in_one_unit(seconds: int, text: str) -> None:
    assert fmt.age(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(("seconds", "word"), [(3, ""), (7, "late"), (16, "stale")])
def test_the_age_of_a_view_turns_late_and_stale_in_words(seconds: int, word: str) -> None:
    (span,) = chrome.age(NOW - timedelta(seconds=seconds), NOW, 3.0)
    assert span.text.strip().startswith(
        f"× {word}" if word == "stale" else f"▲ {word}" if word else "as of"
    )
    assert f"{seconds} s ago" in span.text


ANNA = Session("hopsmeter", "anna", "16", False, "auth0|1", "anna@example.test", is_admin=False)


@pytest.mark.parametrize(
    ("environment", "who", "wanted"),
    [
        ("", ANNA, "hopsmeter anna@example.test"),
        ("demo", ANNA, "hopsmeter demo anna@example.test"),
        ("", replace(ANNA, database="billing"), "hopsmeter db billing · anna@example.test"),
        ("", replace(ANNA, email=None, role="olaf"), "hopsmeter role olaf"),
        ("", None, "hopsmeter db waiting"),
        ("", replace(ANNA, read_only=True), "hopsmeter anna@example.test RO"),
    ],
)
def test_the_header_says_each_thing_once_and_what_it_is(
    environment: str, who: Session | None, wanted: str
) -> None:
    left, right = chrome.header(environment, "waiting", who, read_only=False)
    assert " ".join("".join(span.text for span in (*left, *right)).split()) == wanted


def test_sorting_is_stable_and_puts_what_has_no_value_last() -> None:
    rows = [Row(key, (), (value,)) for key, value in zip("abcd", (2, None, 1, 2), strict=True)]
    assert [row.key for row in order(rows, 0, reverse=False)] == ["c", "a", "d", "b"]
    assert [row.key for row in order(rows, 0, reverse=True)] == ["a", "d", "c", "b"]


def test_a_filter_looks_at_every_cell_in_any_case() -> None:
    rows = [Row("a", ("Alpha", "x")), Row("b", ("beta", "ALPHA")), Row("c", ("gamma", ""))]
    assert [row.key for row in keep(rows, "alpha")] == ["a", "b"]
    assert [row.key for row in keep(rows, "!alpha")] == ["c"]
    assert len(keep(rows, "")) == len(keep(rows, "!")) == 3


@pytest.mark.parametrize("width", [60, 66, 67, 80, 117, 118, 120, 160, 240])
def test_the_map_ends_with_the_newest_hour_at_every_width(width: int) -> None:
    hours = map_columns(map_since(NOW), width)[1]
    assert hours.width == map_hours(width) * (2 if width >= 118 else 1)
    assert hours.width + 18 < width
    assert hours.title.rstrip().endswith("12")


@pytest.mark.parametrize("width", [80, 160])
def test_the_map_has_no_half_of_an_hour_at_its_end(width: int) -> None:
    """Cut in the middle, 18 is read as 1."""
    last = [
        map_columns(map_since(NOW + hour * HOUR), width)[1].title.split()[-1] for hour in range(24)
    ]
    assert [label for label in last if len(label) not in (len("18"), len("03-01"))] == []


EVERY_LIST = (
    overview.CLUSTER_COLUMNS,
    overview.USER_COLUMNS,
    overview.UNMAPPED_COLUMNS,
    pages.NAMESPACE_COLUMNS,
    cluster.HOUR_COLUMNS,
    pages.NAMESPACE_HOUR_COLUMNS,
    pages.COST_COLUMNS,
    pages.PROOF_COLUMNS,
    chrome.HELP_COLUMNS,
)


@pytest.mark.parametrize("columns", EVERY_LIST, ids=lambda columns: columns[0].title)
def test_every_column_that_is_shown_is_shown_whole(columns: tuple[Column, ...]) -> None:
    widths = [*range(60, 240)]
    if columns in (overview.USER_COLUMNS, overview.UNMAPPED_COLUMNS):
        widths = [width if width < WIDE_FROM else width // 2 for width in widths]
    if columns is chrome.HELP_COLUMNS:
        widths = [int(width * 0.96) for width in widths]
    for width in widths:
        last = place(columns, width - 1)[-1]
        assert last.x + last.width <= width - 1, width


@pytest.mark.parametrize("width", [60, 70])
def test_a_narrow_screen_keeps_health_and_money_with_its_currency(width: int) -> None:
    shown = [CLUSTER_COLUMNS[at.at].title for at in place(CLUSTER_COLUMNS, width - 1)]
    assert shown[:3] == ["CLUSTERS", "STATE", "TODAY"]
    assert shown[-1] == ""


@pytest.mark.parametrize("width", range(60, 240, 6))
@pytest.mark.parametrize("nano", [1_370_000_000, 1_234_567_890_000_000])
def test_a_figure_on_top_is_never_cut(width: int, nano: int) -> None:
    totals = [Totals("USD", nano, nano, nano, 1), Totals("EUR", nano, nano, nano, 1)]
    _, values = tiles(totals, NOW, "alive", width)
    whole = {fmt.money(nano, decimals) for decimals in (0, 2)}
    for span in values[1:4]:
        assert any(span.text.startswith(f"{text} USD") for text in whole), span


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("known", theme.THEMES, ids=lambda known: known.name)
@pytest.mark.parametrize("tone", [tone for tone in theme.TONES if tone != "faint"])
def test_every_tone_is_legible_on_every_ground(known: Theme, tone: str) -> None:
    for ground in (known.background, known.surface, known.panel, known.variables["cursor"]):
        assert ground is not None
        light, dark = sorted(
            (luminance(known.variables[f"tone-{tone}"]), luminance(ground)), reverse=True
        )
        assert (light + 0.05) / (dark + 0.05) >= 4.5, ground


def test_zero_is_no_sign_of_an_hour() -> None:
    assert fmt.money(0) == fmt.count(0) == fmt.NOTHING
    assert fmt.NOTHING not in {sign.glyph for sign in HOURS.values()}


def strip_of(*states: HourState) -> HourStrip:
    return HourStrip("eu-1", NOW, states)


def legend_text(strips: Sequence[HourStrip], width: int) -> str:
    return "".join(span.text for span in legend_line(strips, width))


def test_the_legend_explains_the_states_that_occur_and_no_other() -> None:
    strips = (strip_of("settled", "collected"), strip_of("none", "due"))
    text = legend_text(strips, 80)
    assert "□ collected (read again after a day)" in text
    assert "■ settled (final)" in text
    assert "· due" in text
    assert "failed" not in text
    assert legend_text((), 80).strip() == ""


@pytest.mark.parametrize("width", range(70, 240, 5))
def test_the_legend_names_every_state_or_says_that_it_does_not(width: int) -> None:
    text = legend_text((strip_of(*get_args(HourState)),), width)
    assert cell_len(text.rstrip()) <= width
    missing = [sign.word for sign in HOURS.values() if sign.word and sign.word not in text]
    assert bool(missing) is ("…" in text)
    assert not {"refused", "held", "failed", "gap"} & set(missing)


def test_no_two_states_of_an_hour_share_a_sign() -> None:
    for signs in (HOURS, CLUSTERS, DAEMONS):
        glyphs = [sign.glyph for sign in signs.values()]
        assert len(set(glyphs)) == len(glyphs)
        assert all(cell_len(glyph) == 1 for glyph in glyphs)


def test_unmapped_money_of_a_removed_cluster_says_that_it_is() -> None:
    found = [
        Unmapped("eu-1", "etl", "USD", 1, 10**9, NOW, NOW, removed=gone) for gone in (False, True)
    ]
    names = [row.text.partition("\t")[0] for row in unmapped_rows(found)]
    assert names == ["eu-1/etl", "removed eu-1/etl"]
