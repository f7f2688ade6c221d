"""Pieces of a page of HTML. Text is escaped where it is set in; only Markup made here passes as it is."""

from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from typing import NewType

from core.money import text_from_nano

Markup = NewType("Markup", str)
Title = tuple[str, bool]
"""Of a column, and whether it is one of figures."""
Row = tuple[str, Sequence[object]]
"""The class of a row, and what stands in its cells."""


class Nano(int):
    """An amount, which a cell shows rounded, and exactly below."""


def text(value: object) -> Markup:
    return Markup(escape(str(value)))


def joined(parts: Iterable[str]) -> Markup:
    """Set pieces below each other; what is empty is left out."""
    return Markup("\n".join(filter(None, parts)))


def amount(nano: int) -> Markup:
    """Set an amount rounded, and exactly below it; nothing is one line."""
    if not nano:
        return text(text_from_nano(0))
    return Markup(f"{text(text_from_nano(nano))}<small>{text(text_from_nano(nano, 9))}</small>")


def table(titles: Sequence[Title], rows: Iterable[Row], foot: Sequence[object] = ()) -> Markup:
    """Set a table whose head is repeated on each page that it reaches."""
    marks = [' class="n"' if is_figure else "" for _, is_figure in titles]

    def line(name: str, cells: Sequence[object]) -> str:
        opened = f'<tr class="{name}">' if name else "<tr>"
        pairs = zip(marks, cells, strict=True)
        return opened + "".join(f"<td{mark}>{_cell(cell)}</td>" for mark, cell in pairs) + "</tr>"

    heads = zip(marks, titles, strict=True)
    head = "".join(f"<th{mark}>{text(title)}</th>" for mark, (title, _) in heads)
    body = joined(line(name, cells) for name, cells in rows)
    ended = f"<tfoot>{line('', foot)}</tfoot>" if foot else ""
    return Markup(
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n{ended}</table>"
    )


def section(title: str, *parts: str) -> Markup:
    return Markup(f"<section>\n<h2>{text(title)}</h2>\n{joined(parts)}\n</section>")


def note(words: str) -> Markup:
    return Markup(f'<p class="note">{text(words)}</p>')


def listed(items: Sequence[str]) -> Markup:
    if not items:
        return Markup("")
    return Markup("<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>")


def _cell(value: object) -> Markup:
    if isinstance(value, date):
        return Markup(f"<time>{text(value)}</time>")
    return amount(value) if isinstance(value, Nano) else text(value)
