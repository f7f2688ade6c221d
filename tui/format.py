"""Figures and times as people read them, and text made safe for one cell of a terminal."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

from rich.cells import cell_len, chop_cells

from core.money import text_from_nano

Align = Literal["left", "right"]

MONEY_WIDTH = 13
"""Cells of a money column: `99 999 999.99`; beyond that the decimals go, never a digit."""

NOTHING = "0"
"""How zero looks among figures: short, and not the sign of an hour that is due."""

# Controls move the cursor, bidi marks turn the reading order round (a name that reads as another),
# zero-width and variation marks make terminals disagree about how wide a text is.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """Return the text with everything that a terminal would obey instead of show replaced."""
    return _UNSAFE.sub(_REPLACEMENT, text)


def fit(text: str, width: int, align: Align = "left") -> str:
    """Return a clean text of exactly `width` cells: padded, or cut with an ellipsis."""
    if width <= 0:
        return ""
    text = clean(text)
    cells = cell_len(text)
    if cells > width:
        text = cut(text, width)
        cells = cell_len(text)
    padding = " " * (width - cells)
    return padding + text if align == "right" else text + padding


def cut(text: str, width: int) -> str:
    """Return at most `width` cells of the text, with an ellipsis where something is missing."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    pieces = chop_cells(text, width - 1)
    return (pieces[0] if pieces else "") + "…"


def money(nano: int, decimals: int = 2, room: int = MONEY_WIDTH) -> str:
    """Return an amount of at most `room` cells; zero is `0`, a trace of money `<0.01` or `-<0.01`."""
    if nano == 0:
        return NOTHING
    step = 10 ** (9 - decimals)
    if abs(nano) * 2 < step:
        least = f"{10**-decimals:.{decimals}f}"
        return f"<{least}" if nano > 0 else f"-<{least}"
    text = text_from_nano(nano, decimals)
    return text if len(text) <= room else text_from_nano(nano, 0)


def count(number: int) -> str:
    """Return a number with thin groups; zero is `0`."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if number else NOTHING


def age(span: timedelta) -> str:
    """Return a length of time in one unit, rounded down: `4 s`, `12 min`, `3 h`, `5 d`."""
    seconds = max(0, int(span.total_seconds()))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago, no finer than a minute, so that it rarely changes on the screen."""
    if at is None:
        return "never"
    span = now - at
    return "just now" if span < timedelta(minutes=1) else f"{age(span)} ago"


def clock_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M:%S")


def minute_time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M")


def hour_name(hour: datetime) -> str:
    """Return an hour within a view that says the year elsewhere: `03-01 14Z`."""
    return hour.astimezone(UTC).strftime("%m-%d %HZ")
