"""The first screen: clusters, the map of their hours, who costs what, what nobody pays for."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from core.clock import HOUR
from core.reports.clusters import ClusterLine
from core.reports.costs import PersonCost, Unmapped
from core.reports.hours import HourStrip
from tui import format as fmt
from tui.present.cells import CURRENCY, NEWEST, amount, money_column, state
from tui.present.cluster import trouble_text
from tui.rows import Column, Row, Span
from tui.signs import CLUSTERS, HOURS, Sign

MAP_HOURS = 48
UNMAPPED_DAYS = 31
WIDE_CELLS_FROM = 118
"""From this width on, an hour of the map takes two cells."""
NAME_WIDTH = 14
LABEL_EVERY = 6
LEGEND = ("settled", "collected", "due", "failed", "refused", "held", "gap", "collecting", "waived")
"""The order of the legend; what a narrow screen has no room for goes from the end."""
EXPLAINED = (
    "collected",
    "settled",
    "due",
    "gap",
    "failed",
    "held",
    "refused",
    "collecting",
    "waived",
)
"""Whose words say least by themselves, first: they are explained while there is room."""
MAP_FRAME = 19
"""Margin, name, gap and scroll bar beside the hours."""

NO_CLUSTERS = (
    "No clusters yet. Add one:\n"
    "hopsmeter cluster add NAME --kubeconfig FILE --api-url URL\n"
    "Its closed hours are collected from then on, and appear here by themselves."
)
NO_ADMIN = (
    "No clusters yet, and no admin to add one. First, as the database's owner:\n"
    "hopsmeter admin bootstrap ID EMAIL\n"
    "then: hopsmeter cluster add NAME --kubeconfig FILE --api-url URL"
)
NO_HOURS = "The last 48 hours of each cluster will appear here, one sign for each."
NO_COSTS = "No user has cost anything yet today. Map a namespace to its user:\nhopsmeter namespace map CLUSTER NAMESPACE USER"
ALL_MAPPED = "Every namespace with cost has an owner."

CLUSTER_COLUMNS = (
    Column("CLUSTERS", NAME_WIDTH, grow=1, widest=24),
    Column("STATE", 13),
    Column("ANSWERED", 10, drop=2),
    Column("KEPT", 11, "right", drop=3),
    money_column("TODAY"),
    NEWEST._replace(drop=1),
    CURRENCY,
    Column("LAST VISIT", 16, drop=4, grow=3, widest=90, tone="muted"),
)
USER_COLUMNS = (
    Column("COST BY USER", 17, grow=1, widest=48),
    money_column("TODAY"),
    NEWEST,
    CURRENCY,
)
UNMAPPED_COLUMNS = (
    Column("UNMAPPED", 20, grow=1, widest=48),
    money_column("COST", tone="warn"),
    CURRENCY,
    Column("SINCE", 9, drop=2, tone="muted"),
    Column("LAST", 9, drop=3, tone="muted"),
)


def cluster_columns(lost_at: datetime | None) -> tuple[Column, ...]:
    """Return the columns; without a connection the state is said to be one of then."""
    if lost_at is None:
        return CLUSTER_COLUMNS
    then = f"AS OF {fmt.minute_time(lost_at)}"
    return tuple(
        column._replace(title=then) if column.title == "STATE" else column
        for column in CLUSTER_COLUMNS
    )


def cluster_rows(
    lines: Sequence[ClusterLine], now: datetime, *, lost: bool = False
) -> tuple[Row, ...]:
    return tuple(_cluster_row(line, now, lost=lost) for line in lines)


def _cluster_row(line: ClusterLine, now: datetime, *, lost: bool) -> Row:
    sign = CLUSTERS[line.health]
    kept, wanted = line.hours.kept, line.hours.asked_for
    return Row(
        line.name,
        (
            line.name,
            state(sign, lost=lost),
            Span(fmt.ago(line.last_answered_at, now), "muted"),
            Span(f"{kept}/{wanted}" if wanted else fmt.NOTHING, "" if kept < wanted else "muted"),
            amount(line.today_nano, tone="strong"),
            amount(line.newest_nano, room=NEWEST.width) if line.newest_hour else "",
            line.currency,
            trouble_text(line) or line.said,
        ),
        (
            line.name,
            tuple(CLUSTERS).index(line.health),
            line.last_answered_at,
            kept - wanted,
            line.today_nano,
            line.newest_nano,
            line.currency,
            line.said,
        ),
        line.name,
    )


# ── the map ─────────────────────────────────────────────────────────────────────────────────


def map_columns(since: datetime, width: int) -> tuple[Column, ...]:
    """Return the map's columns for a screen of that width; the title of the hours is their axis."""
    cell, hours = map_cell(width), map_hours(width)
    first = since + (MAP_HOURS - hours) * HOUR
    return (
        Column(f"LAST {hours} HOURS", NAME_WIDTH, sorts=False),
        Column(_axis(first, hours, cell), hours * cell, sorts=False),
        Column("MISSING", 9, "right", drop=1, sorts=False),
    )


def map_cell(width: int) -> int:
    return 2 if width >= WIDE_CELLS_FROM else 1


def map_hours(width: int) -> int:
    """Return how many hours fit; on a narrow screen the oldest go."""
    return min(MAP_HOURS, (width - MAP_FRAME) // map_cell(width))


def _axis(since: datetime, hours: int, cell: int) -> str:
    """Write an hour every six, and the date where a day begins, where they fit: half of 18 is 1."""
    axis = ""
    for number in range(hours):
        hour, at = since + number * HOUR, number * cell
        label = hour.strftime("%m-%d" if hour.hour == 0 else "%H")
        fits = len(axis) <= at <= hours * cell - len(label)
        if hour.hour % LABEL_EVERY == 0 and fits:
            axis = axis.ljust(at) + label
    return axis


def map_rows(strips: Sequence[HourStrip], width: int) -> tuple[Row, ...]:
    cell, hours = map_cell(width), map_hours(width)
    return tuple(_map_row(strip, cell, hours) for strip in strips)


def _map_row(strip: HourStrip, cell: int, hours: int) -> Row:
    signs = [HOURS[name] for name in strip.states[-hours:]]
    missing = sum(name not in ("settled", "collected", "waived", "none") for name in strip.states)
    cells = tuple(Span(sign.glyph.ljust(cell), sign.tone) for sign in signs)
    return Row(
        strip.cluster,
        (strip.cluster, _joined(cells), Span(fmt.count(missing), "warn" if missing else "faint")),
        (strip.cluster, 0, missing),
        strip.cluster,
    )


def _joined(cells: Sequence[Span]) -> tuple[Span, ...]:
    """Join neighbours of one tone: a quiet strip is one piece of text, not 48."""
    joined: list[Span] = []
    for span in cells:
        if joined and joined[-1].tone == span.tone:
            joined[-1] = Span(joined[-1].text + span.text, span.tone)
        else:
            joined.append(span)
    return tuple(joined)


# ── money ───────────────────────────────────────────────────────────────────────────────────


def user_rows(people: Sequence[PersonCost]) -> tuple[Row, ...]:
    return tuple(
        Row(
            (each.user_id, each.currency),
            (
                each.email,
                amount(each.day_nano, tone="strong"),
                amount(each.hour_nano, room=NEWEST.width),
                each.currency,
            ),
            (each.email, each.day_nano, each.hour_nano, each.currency),
            each.email,
        )
        for each in people
    )


def unmapped_rows(found: Sequence[Unmapped]) -> tuple[Row, ...]:
    return tuple(
        Row(
            (each.cluster, each.namespace),
            (
                _place(each),
                amount(each.total_nano),
                each.currency,
                fmt.hour_name(each.first_hour),
                fmt.hour_name(each.last_hour),
            ),
            (
                (each.cluster, each.namespace),
                each.total_nano,
                each.currency,
                each.first_hour,
                each.last_hour,
            ),
            f"{each.cluster}/{each.namespace}",
        )
        for each in found
    )


def _place(of: Unmapped) -> tuple[Span, ...]:
    """Name it; the word stands where a narrow column cuts it last."""
    gone = (Span("removed ", "warn"),) if of.removed else ()
    return (*gone, Span(f"{of.cluster}/", "muted"), Span(of.namespace))


def legend_line(strips: Sequence[HourStrip], width: int) -> tuple[Span, ...]:
    """Return the signs that occur with their words, and what they mean as far as there is room."""
    found = {name for strip in strips for name in strip.states}
    signs = {name: HOURS[name] for name in LEGEND if name in found}
    cut = 0
    while signs and _legend_width(signs.values(), set(), cut) > width:
        signs.popitem()
        cut = 2
    told: set[str] = set()
    for name in sorted(signs, key=EXPLAINED.index):
        if _legend_width(signs.values(), {*told, name}, cut) <= width:
            told.add(name)
    spans = [Span(" ")]
    for name, sign in signs.items():
        spans.append(Span(f" {sign.glyph} ", sign.tone))
        spans.append(Span(_legend_words(sign, brief=name in told), "muted"))
    return (*spans, Span("…" if cut else "", "muted"))


def _legend_words(sign: Sign, *, brief: bool) -> str:
    return f"{sign.word} ({sign.brief}) " if brief and sign.brief else f"{sign.word} "


def _legend_width(signs: Iterable[Sign], told: set[str], cut: int) -> int:
    words = (_legend_words(sign, brief=sign.word in told) for sign in signs)
    return cut + sum(len(text) + len(" x ") for text in words)


def map_since(now: datetime) -> datetime:
    """Return the first of the 48 hours that end with the newest closed one."""
    closed = now.replace(minute=0, second=0, microsecond=0) - HOUR
    return closed - timedelta(hours=MAP_HOURS - 1)
