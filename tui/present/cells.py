"""The cells that several lists share."""

from collections.abc import Mapping

from tui import format as fmt
from tui.rows import Column, Span
from tui.signs import HOURS, KINDS, Sign

MONEY = fmt.MONEY_WIDTH
CURRENCY = Column("", 3, tone="muted", sorts=False)
EXACT_DECIMALS = 5
"""What OpenCost prints; used where single hours are shown."""


def state(sign: Sign, *, lost: bool = False) -> tuple[Span, ...]:
    """Return glyph and word of a state, the word in the same tone; muted where it is an old one."""
    tone = "muted" if lost else sign.tone
    return (Span(f"{sign.glyph} ", tone), Span(sign.word, tone))


def hour_state(name: str) -> tuple[Span, ...]:
    return state(HOURS[name])


def kind(name: str) -> tuple[Span, ...]:
    return state(KINDS[name])


def owner(kind_name: str, email: str) -> Span:
    """Return whose a cost is: an e-mail address, or the kind that has no owner."""
    if email:
        return Span(email)
    sign = KINDS[kind_name]
    return Span(sign.word, sign.tone)


def amount(nano: int, decimals: int = 2, tone: str = "", room: int = MONEY) -> Span:
    """Return money; zero is faint, and what is below zero stands out."""
    text = fmt.money(nano, decimals, room)
    if nano == 0:
        return Span(text, "faint")
    return Span(text, "warn" if nano < 0 else tone)


def money_column(title: str, *, drop: int = 0, tone: str = "") -> Column:
    return Column(title, MONEY, "right", drop=drop, tone=tone)


NEWEST = Column("NEWEST HOUR", 12, "right")
"""One hour's money is less than a day's; the cell goes to the names."""


def legend(signs: Mapping[str, Sign]) -> list[tuple[Span, str]]:
    """Return each sign with its word, and its meaning."""
    return [
        (Span(f"{sign.glyph} {sign.word}", sign.tone), sign.meaning)
        for sign in signs.values()
        if sign.word
    ]
