"""The proof of what was told to Stripe: invariants 6 and 8 (design §4), each row that is wrong named."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

import psycopg

from core.billing.stripe.bills.final import final_invoices
from core.billing.stripe.bills.span import Asked
from core.billing.stripe.bills.twice import billed_twice
from core.billing.stripe.bills.unbilled import unbilled
from core.billing.stripe.bills.within import begun_within
from core.billing.stripe.lag import LAG
from core.billing.stripe.units import UNIT_NANO
from core.books.lines import NAMED_MAX, CheckLine, Span, fetched_text
from core.books.stripe.purchases import purchases_agree
from core.db.queries import queries_beside
from core.money import text_from_nano

_SQL = queries_beside(__file__)
_TOLD: Final = "all that is owed is told, settled, due or under a unit"
_AGREES: Final = "Stripe has what it accepted, and bills it"
_NOT_SET_UP: Final = "Stripe is not set up"

Connection = psycopg.Connection[Any]


def receivable_told(connection: Connection, span: Span) -> CheckLine:
    """6: posted to receivable = unit × units of the newest reports + settled by hand + due + R.

    By account over all time; its days, reports, moves and entries those of the span.
    """
    wrong = _entries(connection, span)
    if not _is_set_up(connection):
        return CheckLine(6, _TOLD, not wrong, _NOT_SET_UP, tuple(wrong))
    posted, is_moved = _posted(connection, span)
    sums, accounts = _accounts(connection, span)
    wrong = [
        *accounts,
        *posted,
        *(row for check in _CHECKS for row in check(connection, span)),
        *wrong,
    ]
    parts = [*sums, *_pending(connection, span, is_moved)]
    return CheckLine(6, _TOLD, not wrong, "; ".join(parts) or "nothing owed yet", tuple(wrong))


def stripe_agrees(connection: Connection, span: Span) -> CheckLine:
    """8: what Stripe says it has of each day is what it accepted, and what it billed what is counted.

    And what it kept of each purchase is what was credited, less what was taken back.
    """
    if not _is_set_up(connection):
        return CheckLine(8, _AGREES, ok=True, detail=_NOT_SET_UP)
    days, wrong = _summaries(connection, span)
    invoices, billed_wrong = _invoices(connection, span)
    bought, bought_wrong = purchases_agree(connection, span.now)
    wrong += billed_wrong + bought_wrong
    return CheckLine(8, _AGREES, not wrong, ", ".join([*days, *invoices, *bought]), tuple(wrong))


def _is_set_up(connection: Connection) -> bool:
    row = connection.execute(_SQL["is_set_up"]).fetchone()
    assert row is not None
    return bool(row[0])


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


def _accounts(connection: Connection, span: Span) -> tuple[list[str], list[str]]:
    """Return the sums by currency, and a sentence for each account that does not add up."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    wrong: list[str] = []
    for account, currency, *figures in _rows(connection, "accounts_told", span):
        posted, told, settled, due, rest = map(int, figures)
        sums[currency] = [
            known + each for known, each in zip(sums[currency], map(int, figures), strict=True)
        ]
        sum_nano = told + settled + due + rest
        if (posted != sum_nano or not 0 <= rest < UNIT_NANO) and len(wrong) < NAMED_MAX:
            wrong.append(
                f"{account}: {_text(posted)} posted to its receivable, and {_text(told)} reported +"
                f" {_text(settled)} settled by hand + {_text(due)} due + {_text(rest)} under a unit"
                f" are {_text(sum_nano)}"
            )
    parts = [
        f"{currency}: {_text(posted)} posted = {_text(told)} reported + {_text(settled)} settled by"
        f" hand + {_text(due)} due + {_text(rest)} under a unit"
        for currency, (posted, told, settled, due, rest) in sorted(sums.items())
        if any((posted, told, settled, due, rest))
    ]
    return parts, wrong


def _posted(connection: Connection, span: Span) -> tuple[list[str], bool]:
    """Return the days that the ledger says otherwise of, and whether some moved by hand wait."""
    found = _rows(connection, "posted_differs", span)
    wrong = [
        f"{account} {day}: {_text(held)} counts as posted, the ledger says {_text(nano)}"
        for account, day, held, nano, is_pending in found
        if not is_pending
    ]
    return wrong, any(is_pending for *_, is_pending in found)


def _days(connection: Connection, span: Span) -> list[str]:
    wrong = []
    for account, day, *pairs in _rows(connection, "days_differ", span):
        moved, moves, snapshot, reported, units, told, seq, newest = pairs
        faults = [
            (moved != moves, f"{_text(moved)} counts as moved, its moves say {_text(moves)}"),
            (
                snapshot != reported,
                f"{_text(snapshot)} counts as told, its newest report says {_text(reported)}",
            ),
            (units != told, f"{units} units count as told, its newest report says {told}"),
            (seq != newest, f"{seq} counts as its newest report, and that is {newest}"),
        ]
        wrong += [f"{account} {day}: {text}" for is_wrong, text in faults if is_wrong]
    return wrong


def _chains(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account} {day}, report {seq}: {fault}"
        for account, day, seq, fault in _rows(connection, "chains_differ", span)
    ]


def _remainders(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}: {_text(held)} counts as left under a unit, its newest report left {_text(left)}"
        for account, held, left in _rows(connection, "remainders_differ", span)
    ]


def _reports(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account} {day}, report {seq}: {fault}"
        for account, day, seq, fault in _rows(connection, "reports_astray", span)
    ]


def _moves(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account} {day}, move {number}: {fault}"
        for account, day, number, fault in _rows(connection, "moves_astray", span)
    ]


def _entries(connection: Connection, span: Span) -> list[str]:
    return [
        f"{account}, entry {entry}: {_text(amount)}"
        f" {'reported to Stripe' if contra == 16 else 'settled by hand'}, by"
        f" {found or 'no'} {'report' if contra == 16 else 'move'}{'s' if found > 1 else ''}"
        for account, entry, contra, amount, found in _rows(connection, "entries_astray", span)
    ]


_CHECKS: tuple[Callable[[Connection, Span], list[str]], ...] = (
    _days,
    _chains,
    _remainders,
    _reports,
    _moves,
)


def _pending(connection: Connection, span: Span, is_moved: bool) -> Iterable[str]:
    ((days, since),) = _rows(connection, "unread", span)
    if days:
        yield (
            f"postings of {_counted(days, 'day')} wait to be read since {since:%Y-%m-%d %H:%M} UTC"
        )
    if is_moved:
        yield "arrears that were settled wait to be read"


# ── 8 ──────────────────────────────────────────────────────────────────────────────────────


def _summaries(connection: Connection, span: Span) -> tuple[list[str], list[str]]:
    ((equal, differ, wait, none, gone, newest_at, oldest_at, named),) = _rows(
        connection, "summaries_compared", span, lag=LAG
    )
    parts = [f"{_counted(equal + differ, 'day')} compared"]
    if newest_at:
        parts[0] += f", {fetched_text(oldest_at, newest_at, span.now)}"
    if wait:
        parts.append(f"{_counted(wait, 'day')} too young to be compared")
    if none:
        parts.append(f"{_counted(none, 'day')} not yet fetched")
    if gone:
        parts.append(f"{_counted(gone, 'day')} told to a customer that was deleted, not compared")
    wrong = [
        f"{account} {day}: Stripe says it has {said} units, {accepted} were accepted"
        for account, day, said, accepted in named
    ]
    return parts, wrong


def _invoices(connection: Connection, span: Span) -> tuple[list[str], list[str]]:
    asked = Asked(span.since, span.until)
    final = final_invoices(connection, asked)
    billing = [each for each in final if not each.is_void]
    compared = [each for each in billing if not each.is_pending]
    by_hand = sum(each.is_by_hand for each in compared)
    wrong = [
        f"{each.account_id}: {each.fault}"
        for each in compared
        if each.fault and not each.is_put_right
    ]
    equal = sum(not each.fault and not each.is_by_hand for each in compared)
    waiting, void = len(billing) - len(compared), len(final) - len(billing)
    parts = [f"{_counted(equal, 'final invoice')} equal"] if equal and not wrong else []
    if by_hand:
        parts.append(f"{_counted(by_hand, 'final invoice')} put right by hand")
    if waiting:
        parts.append(f"{_counted(waiting, 'final invoice')} not yet compared")
    if void:
        # It bills nobody; that somebody should be billed otherwise is no fault of a figure.
        parts.append(
            f"{_counted(void, 'invoice')} void, which {'bills' if void == 1 else 'bill'} nobody"
        )
    wrong += [
        f"{each.account_id}: {each.cause}"
        for found in (billed_twice, unbilled, begun_within)
        for each in found(connection, asked)
    ]
    return parts, wrong[:NAMED_MAX]


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _rows(connection: Connection, name: str, span: Span, **more: Any) -> list[tuple[Any, ...]]:
    return connection.execute(_SQL[name], {**span.values, **more}).fetchall()


def _text(nano: Any) -> str:
    return text_from_nano(int(nano), 9)
