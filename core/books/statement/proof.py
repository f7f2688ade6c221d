"""Whether a statement adds up: to the ledger, to its hours, and to its lots, each to the nano."""

from collections.abc import Iterable
from dataclasses import astuple

from core.books.statement.figures import Books, Statement
from core.books.words import BOOKS
from core.money import text_from_nano


def faults(statement: Statement) -> list[str]:
    """Return what does not add up, a sentence each; nothing where all is well."""
    return [
        *_books(statement),
        *_days(statement),
        *_lots(statement),
        *_hours(statement),
    ]


def added(parts: Iterable[Books]) -> Books:
    """Return the sum, book by book."""
    columns = zip(*(astuple(each) for each in (Books(), *parts)), strict=True)
    return Books(*(sum(column) for column in columns))


def _books(statement: Statement) -> list[str]:
    """Opening, charges, corrections, movements and what was told make the closing balances."""
    moved = added([*(each.moved for each in statement.movements), statement.told.moved])
    days, corrections = statement.days, statement.corrections
    paid = added([*(each.paid for each in days), *(each.paid for each in corrections)])
    return [
        f"{book}: begun with {_exact(opening)}, moved {_exact(move - charge)}, and not"
        f" {_exact(closing)} at the end"
        for book, opening, move, charge, closing in zip(
            BOOKS.values(),
            astuple(statement.opening),
            astuple(moved),
            astuple(paid),
            astuple(statement.closing),
            strict=True,
        )
        if opening + move - charge != closing
    ]


def _days(statement: Statement) -> list[str]:
    """What a day's namespaces are charged is what was entered of it, unless it waits to be posted."""
    if statement.pending_nano:
        return []
    return [
        f"{each.day}: entered {_exact(each.charge_nano)}, its namespaces"
        f" {_exact(sum(line.charge_nano for line in each.lines))}"
        for each in statement.days
        if each.charge_nano != sum(line.charge_nano for line in each.lines)
    ]


def _lots(statement: Statement) -> list[str]:
    found = [
        f"lot {each.lot}: its parts do not make {_exact(each.closing_nano)}"
        for each in statement.lots
        if each.opening_nano + each.came_nano + each.charged_nano + each.repaid_nano
        + each.taken_back_nano + each.refunded_nano + each.expired_nano != each.closing_nano
    ]  # fmt: skip
    for when, held, lots in (
        ("begun", statement.opening.credits_nano, [each.opening_nano for each in statement.lots]),
        ("ended", statement.closing.credits_nano, [each.closing_nano for each in statement.lots]),
    ):
        if held != sum(lots):
            found.append(f"credits {when} with {_exact(held)}, in lots {_exact(sum(lots))}")
    return found


def _hours(statement: Statement) -> list[str]:
    """The hours that a correction names moved what it charges, where it is known what each moved."""
    found = []
    for each in statement.corrections:
        moved = [hour.moved_nano for hour in each.hours]
        known = [nano for nano in moved if nano is not None]
        if moved and len(known) == len(moved) and sum(known) != each.charge_nano:
            found.append(
                f"correction {each.posting_no} of {each.day}: charged {_exact(each.charge_nano)},"
                f" its hours {_exact(sum(known))}"
            )
    return found


def _exact(nano: int) -> str:
    return text_from_nano(nano, 9)
