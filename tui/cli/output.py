"""Lists, for eyes and for programs: an aligned table, JSON, or CSV.

JSON keeps the names and units of the records (`…_nano` are whole billionths of the currency);
CSV is for spreadsheets, so money stands there in units, exactly, without the suffix.
"""

import csv
import dataclasses
import json
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final, Literal, ParamSpec, TypeVar

import click

from core.clock import floor_hour, hour_text
from core.money import decimal_from_nano, text_from_nano
from tui import format as fmt

P = ParamSpec("P")
R = TypeVar("R")

Form = Literal["table", "json", "csv"]
NANO: Final = "_nano"
PIPE_WIDTH: Final = 100_000
"""Into a pipe nothing is folded: a line is a record."""
TERMINAL_CELLS: Final = 80
"""Of one that says it has none (COLUMNS=0)."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""A spreadsheet would run a name that begins so; the last four are wide ones, which some read alike."""
GAP: Final = 2
DIVIDER: Final = 1
WORD_CELLS_MAX: Final = 40
"""A longer word of a text that may be folded is."""
FOLDED_CELLS_MIN: Final = 24
"""To fewer cells a sentence is not folded, while it may stand below its record."""


@dataclass(frozen=True)
class Column:
    """One column of a table: its title, and what stands there for a record.

    One that is `below` stands under its record, with its title, where the terminal has no room for
    all beside each other. One that `folds` is a sentence, and may be folded at its words before that.
    """

    title: str
    cell: Callable[[Any], str]
    align: fmt.Align = "left"
    below: bool = False
    folds: bool = False


def listing(function: Callable[P, R]) -> Callable[P, R]:
    """Add --json and --csv; the command gets `form`."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
    @wraps(function)
    def with_form(*args: Any, as_json: bool, as_csv: bool, **kwargs: Any) -> R:
        if as_json and as_csv:
            raise click.UsageError("Choose --json or --csv.")
        kwargs["form"] = "json" if as_json else "csv" if as_csv else "table"
        return function(*args, **kwargs)

    return with_form  # type: ignore[return-value]  # the decorator takes two parameters for one


def show(form: Form, records: Sequence[Any], columns: Sequence[Column], *, empty: str) -> None:
    """Print the records; `empty` is the sentence for eyes where there are none."""
    if form == "json":
        show_json([plain(record) for record in records])
    elif form == "csv":
        _csv([plain(record) for record in records])
    elif not records:
        say(empty)
    else:
        table(records, columns)


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def plain(record: Any) -> dict[str, Any]:
    """Return a record (a dataclass or a mapping) as JSON can hold it; hours as `2026-03-01T14Z`."""
    built = record if isinstance(record, Mapping) else dataclasses.asdict(record)
    return {name: _plain(value) for name, value in built.items()}


def table(records: Iterable[Any], columns: Sequence[Column]) -> None:
    """Print an aligned table; on a terminal the last text folds, and nothing is cut off.

    On one that has no room for it, the columns that may stand below their record do.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0))
    last = [column for column in columns if column.align == "left"][-1]
    foldable = [column.folds or column is last for column in columns]
    for column, may_fold in zip(columns, foldable, strict=True):
        # A figure that is folded is read as two, a folded name cannot be copied; the last text,
        # which is the long one, may be, and so may sentences.
        drawn.add_column(
            Text(column.title),
            justify=column.align,
            overflow="fold",
            no_wrap=not may_fold,
        )
    rows = [[fmt.clean(column.cell(record)) for column in columns] for record in records]
    for row in rows:
        drawn.add_row(*map(Text, row))
    needed = 0
    for column, each, may_fold in zip(columns, drawn.columns, foldable, strict=True):
        cells = [str(cell) for cell in (each.header, *each.cells)]
        width = max(map(cell_len, cells))
        if may_fold:
            word = max(cell_len(word) for cell in cells for word in cell.split())
            room = FOLDED_CELLS_MIN if column.folds else 0
            width = each.min_width = min(width, max(min(word, WORD_CELLS_MAX), room))
        needed += width + GAP + DIVIDER
    if needed > terminal_cells() and any(column.below for column in columns):
        print_rich(*_narrow(rows, columns))
    else:
        print_rich(drawn, needed)


def _narrow(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> tuple[Any, int]:
    from tui.cli.narrow import narrow_table

    beside = [index for index, column in enumerate(columns) if not column.below]
    below = [index for index, column in enumerate(columns) if column.below]
    return narrow_table(
        [(columns[index].title, columns[index].align) for index in beside],
        [
            (
                [row[index] for index in beside],
                [
                    (columns[index].title, row[index])
                    for index in below
                    if row[index] != fmt.NOTHING
                ],
            )
            for row in rows
        ],
        terminal_cells(),
    )


def terminal_cells() -> int:
    """Return how wide a line may be."""
    if not sys.stdout.isatty():
        return PIPE_WIDTH
    from rich.console import Console

    return Console().width or TERMINAL_CELLS


def print_rich(thing: Any, needed: int = 0) -> None:
    """Print with colour on a terminal that wants it; NO_COLOR and pipes are honoured.

    A terminal narrower than `needed` gets longer lines, which it wraps itself: cut to fit, an
    amount would read as another.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(terminal_cells(), needed)
    with console.capture() as captured:
        console.print(thing)
    # A table pads each line to its end, which in a pipe is a hundred blanks for nothing.
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def pairs(values: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other; what is empty is left out."""
    shown = [(name, value) for name, value in values if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{name:<{width}}  {value}", hang=width + GAP)


def say(text: str, *, hang: int = 0) -> None:
    """Print a line, cleaned; on a terminal folded at its words, what follows `hang` cells in.

    A word that has no room is left whole: an address is to be copied.
    """
    line, room = fmt.clean(text), terminal_cells()
    if len(line) <= room:
        click.echo(line)
        return
    for part in textwrap.wrap(
        line,
        room,
        subsequent_indent=" " * min(hang, room // 2),
        break_long_words=False,
        break_on_hyphens=False,
    ):
        click.echo(part)


def money(nano: int, currency: str, decimals: int = 2) -> str:
    """Return an amount with its currency, which is never left out."""
    amount = fmt.money(nano, decimals) if nano else text_from_nano(0, decimals)
    return f"{amount} {currency}"


def cost(nano: int, currency: str, decimals: int = 2) -> str:
    """Return an amount for a column, where nothing is a dot: the rest stays readable."""
    return money(nano, currency, decimals) if nano else fmt.NOTHING


def hour(at: datetime | None) -> str:
    return hour_text(at) if at else ""


def instant(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%MZ") if at else ""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return hour_text(value) if value == floor_hour(value) else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(each) for each in value]
    return value


def _csv(records: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if not records:
        return
    names = [name for name, value in records[0].items() if not isinstance(value, dict | list)]
    writer.writerow([name.removesuffix(NANO) for name in names])
    for record in records:
        writer.writerow([_field(name, record[name]) for name in names])


def _field(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name.endswith(NANO):
        return f"{decimal_from_nano(value):f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # The writer quotes no carriage return before Python 3.13, and a reader begins a row with it.
    text = str(value).replace("\r", "\n")
    risky = isinstance(value, str) and text.startswith(FORMULA)
    return f"'{text}" if risky else text
