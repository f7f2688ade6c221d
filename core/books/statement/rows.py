"""The statement as flat rows, for spreadsheets: one row for each figure, named by its part."""

from collections.abc import Iterator
from typing import Any

from core.books.statement import wording
from core.books.statement.figures import Books, ChargeLine, LotPart, Presented, Statement
from core.clock import hour_text

_EMPTY: dict[str, Any] = {
    "part": "",
    "day": "",
    "hour": "",
    "cluster": "",
    "namespace": "",
    "project": "",
    "user": "",
    "hours": "",
    "plan": "",
    "what": "",
    "reference": "",
    "lot": "",
    "cost_nano": None,
    "charge_nano": None,
    "credits_nano": None,
    "receivable_nano": None,
    "arrears_nano": None,
}


def rows(found: Presented) -> list[dict[str, Any]]:
    """Return the rows, from the opening balances to the closing ones; owed is negative."""
    it = found.statement
    whose = {
        "account": it.account,
        "month": it.month,
        "currency": it.currency,
        "state": "provisional" if found.sha256 is None else "final",
    }
    return [{**whose, **_EMPTY, **row} for row in _rows(it)]


def _rows(it: Statement) -> Iterator[dict[str, Any]]:
    yield {"part": "opening", **_books(it.opening)}
    for day in it.days:
        for line in day.lines:
            yield {"part": "charge", "day": str(day.day), **_line(line)}
        yield {
            "part": "day",
            "day": str(day.day),
            "lot": _lots(day.lots),
            "charge_nano": day.charge_nano,
            **_books(day.paid, -1),
        }
    for each in it.movements:
        yield {
            "part": "movement",
            "day": str(each.posted_on),
            "what": each.what,
            "reference": each.reference,
            "lot": _lots(each.lots),
            **_books(each.moved),
        }
    for what, nano in wording.told(it.told):
        yield {"part": "told", "what": what, **_books(Books(receivable_nano=nano))}
    yield from _restated(it)
    yield from _corrections(it)
    for cluster in it.clusters:
        for span in cluster.spans:
            what = wording.span(span)
            hour = hour_text(span.first)
            yield {
                "part": "hours",
                "cluster": cluster.cluster,
                "hour": hour,
                "hours": span.hours,
                "what": what,
            }
    yield {"part": "closing", **_books(it.closing)}


def _restated(it: Statement) -> Iterator[dict[str, Any]]:
    for each in it.restated.days:
        yield {
            "part": "restated",
            "day": str(each.day),
            "cluster": each.cluster,
            "namespace": wording.namespaces(each),
            "hours": len(each.hours),
            "what": f"{wording.hours_of_day(each)}: {wording.change(each)}",
            "charge_nano": each.moved_nano,
        }
    if it.restated.more:
        yield {
            "part": "restated",
            "what": wording.more(it.restated),
            "charge_nano": it.restated.more_nano,
        }


def _corrections(it: Statement) -> Iterator[dict[str, Any]]:
    for each in it.corrections:
        for hour in each.hours:
            yield {
                "part": "corrected hour",
                "day": str(each.day),
                "hour": hour_text(hour.hour),
                "cluster": hour.cluster,
                "namespace": hour.namespace,
                "what": hour.why,
                "charge_nano": hour.moved_nano,
            }
        yield {
            "part": "correction",
            "day": str(each.day),
            "what": f"posted on {each.posted_on}",
            "lot": _lots(each.lots),
            "charge_nano": each.charge_nano,
            **_books(each.paid, -1),
        }


def _line(line: ChargeLine) -> dict[str, Any]:
    return {
        "cluster": line.cluster,
        "namespace": line.namespace,
        "project": line.project,
        "user": line.user,
        "hours": line.hours,
        "plan": line.plan,
        "cost_nano": line.cost_nano,
        "charge_nano": line.charge_nano,
    }


def _books(books: Books, sign: int = 1) -> dict[str, int]:
    return {
        "credits_nano": sign * books.credits_nano,
        "receivable_nano": sign * books.receivable_nano,
        "arrears_nano": sign * books.arrears_nano,
    }


def _lots(lots: tuple[LotPart, ...]) -> str:
    return " ".join(str(each.lot) for each in lots)
