"""Hours, days, months and moments as people type them; what is none is a misuse, told before anything runs."""

from collections.abc import Callable
from typing import Any, Final

import click

from core.clock import hour_text, month_bounds, parse_day, parse_hour, parse_instant
from core.errors import InputFault


class _Text(click.ParamType[str]):
    """A text that `read` understands, in the form that it returns."""

    def __init__(self, name: str, read: Callable[[str], str]) -> None:
        self.name, self._read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text; click's own fault, and exit code 2, where it cannot be meant."""
        try:
            return self._read(value)
        except InputFault as fault:
            self.fail(fault.message, param, ctx)


def _day(text: str) -> str:
    try:
        return parse_day(text).isoformat()
    except InputFault:
        raise InputFault(f"{text!r} is no day; write it like 2026-03-01.") from None


class _Pair(click.ParamType[tuple[str, str]]):
    """A name and its number, `gpu=1.5`; what both may be, core says."""

    name = "name=number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split it; click's own fault, and exit code 2, where there is nothing to split."""
        if isinstance(value, tuple):
            return value
        name, mark, number = value.partition("=")
        if not (name and mark and number):
            self.fail(f"{value!r} is no pair; write it like gpu=1.5.", param, ctx)
        return name, number


def by_name(option: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pairs by their names, each of which may be given once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == each for each, _ in pairs) > 1)
        raise click.UsageError(f"{option} {twice} was given twice.")
    return found


PAIR: Final = _Pair()
HOUR_TEXT: Final = _Text("hour", lambda text: hour_text(parse_hour(text)))
DAY_TEXT: Final = _Text("day", _day)
MONTH_TEXT: Final = _Text("month", lambda text: f"{month_bounds(text)[0]:%Y-%m}")
INSTANT_TEXT: Final = _Text("time", lambda text: parse_instant(text).isoformat())
