"""The statement as a page to hand to a customer: one HTML file, printable on A4, nothing loaded."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from core.books.statement import wording
from core.books.statement.figures import (
    Books,
    ChargeDay,
    LotMonth,
    LotPart,
    Presented,
    Statement,
)
from core.books.statement.markup import (
    Markup,
    Nano,
    Row,
    joined,
    listed,
    note,
    section,
    table,
    text,
)
from core.books.statement.proof import added
from core.clock import hour_text, month_bounds
from core.money import text_from_nano

_CSS: Final = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def page(found: Presented) -> str:
    """Return the whole document; the same figures are always the same bytes."""
    it = found.statement
    parts = (_head(it), _state(found), _sums(it), _balances(it), _namespaces(it), _days(it))
    more = (
        _credits(it),
        _movements(it),
        _invoiced(it),
        _restated(it),
        _corrections(it),
        _hours(it),
        _foot(found),
    )
    title = text(f"Statement {it.month}, {it.email}")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>\n{_CSS}</style>\n</head>\n<body>\n"
        f"{joined((*parts, *more))}\n</body>\n</html>\n"
    )


def _head(it: Statement) -> Markup:
    first, _ = month_bounds(it.month)
    name = f"<b>{text(it.name)}</b><br>" if it.name else ""
    return Markup(
        f"<header>\n<h1><span>Statement</span>{first:%B %Y}</h1>\n"
        f'<div class="whose">{name}{text(it.email)}<br>Account {text(it.account)}<br>'
        f"All amounts in {text(it.currency or 'no currency yet')}</div>\n</header>"
    )


def _state(found: Presented) -> Markup:
    kind = " provisional" if found.sha256 is None else ""
    return Markup(f'<p class="state{kind}">{text(wording.state(found))}</p>')


def _sums(it: Statement) -> Markup:
    owed = -it.closing.receivable_nano - it.closing.arrears_nano
    boxes = [
        ("Charged this month", it.charge_nano),
        ("Corrections of other months", it.correction_nano),
    ]
    boxes += [("Credits left", it.closing.credits_nano), ("Owed at the end", owed)]
    return Markup(
        '<div class="sums">'
        + "".join(
            f"<div><span>{text(title)}</span><b>{text(text_from_nano(nano))}</b>"
            f"<small>{text(text_from_nano(nano, 9))}</small></div>"
            for title, nano in boxes
        )
        + "</div>"
    )


_BOOKS: Final[tuple[tuple[str, Callable[[Books], int]], ...]] = (
    ("Credits", lambda books: books.credits_nano),
    ("Owed, to be invoiced", lambda books: -books.receivable_nano),
    ("Owed, repaid by the next credits", lambda books: -books.arrears_nano),
)


def _balances(it: Statement) -> Markup:
    charged = added(each.paid for each in it.days)
    corrected = added(each.paid for each in it.corrections)
    moved = added([*(each.moved for each in it.movements), it.told.moved])
    rows = [
        ("", (title, *(Nano(value) for value in (
            of(it.opening), -of(charged), -of(corrected), of(moved), of(it.closing)))))
        for title, of in _BOOKS
    ]  # fmt: skip
    titles = [("", False), ("at the beginning", True), ("charges", True), ("corrections", True)]
    titles += [("other movements", True), ("at the end", True)]
    return section("Balances", table(titles, rows))


_LINE: Final = [
    ("cluster", False), ("namespace", False), ("project", False), ("used by", False),
    ("hours", True), ("plan", False), ("cost", True), ("charge", True),
]  # fmt: skip


def _namespaces(it: Statement) -> Markup:
    if not it.namespaces:
        return section("Charges by namespace", note("Nothing was used this month."))
    rows = [
        ("", (each.cluster, each.namespace, each.project, each.user, each.hours, each.plan,
              Nano(each.cost_nano), Nano(each.charge_nano)))
        for each in it.namespaces
    ]  # fmt: skip
    cost = sum(each.cost_nano for each in it.namespaces)
    charge = sum(each.charge_nano for each in it.namespaces)
    foot = (
        "Together",
        "",
        "",
        "",
        sum(each.hours for each in it.namespaces),
        "",
        Nano(cost),
        Nano(charge),
    )
    pending = note(
        f"{text_from_nano(it.pending_nano, 9)} of it is not posted to the ledger yet, and not in the"
        " balances above."
    )
    parts = [table(_LINE, rows, foot), *([pending] if it.pending_nano else [])]
    return section("Charges by namespace", *parts)


def _days(it: Statement) -> Markup:
    if not it.days:
        return Markup("")
    titles = [
        ("day, and its namespaces", False),
        ("hours", True),
        ("plan, or lots that paid", False),
    ]
    titles += [
        ("charge", True),
        ("from credits", True),
        ("to be invoiced", True),
        ("arrears", True),
    ]
    paid = added(each.paid for each in it.days)
    hours = sum(line.hours for each in it.days for line in each.lines)
    foot = ("Together", hours, "", *map(Nano, (it.charge_nano, *_paid(paid))))
    rows = [row for each in it.days for row in _day(each)]
    return section("Charges by day", table(titles, rows, foot))


def _day(each: ChargeDay) -> Iterable[Row]:
    hours = sum(line.hours for line in each.lines)
    amounts = map(Nano, (each.charge_nano, *_paid(each.paid)))
    yield "day", (each.day, hours, _lots(each.lots), *amounts)
    for line in each.lines:
        place = f"{line.cluster} / {line.namespace}" + (
            f" ({line.project})" if line.project else ""
        )
        yield "part", (place, line.hours, line.plan, Nano(line.charge_nano), "", "", "")


def _paid(paid: Books) -> tuple[int, int, int]:
    return paid.credits_nano, paid.receivable_nano, paid.arrears_nano


def _lots(lots: Sequence[LotPart]) -> str:
    return ", ".join(f"lot {each.lot}: {text_from_nano(each.amount_nano, 9)}" for each in lots)


_LOT_PARTS: Final[tuple[tuple[str, Callable[[LotMonth], int]], ...]] = (
    ("begun with", lambda lot: lot.opening_nano),
    ("came", lambda lot: lot.came_nano),
    ("paid charges", lambda lot: lot.charged_nano),
    ("repaid arrears", lambda lot: lot.repaid_nano),
    ("taken back", lambda lot: lot.taken_back_nano),
    ("refunded", lambda lot: lot.refunded_nano),
    ("expired", lambda lot: lot.expired_nano),
    ("left", lambda lot: lot.closing_nano),
)


def _credits(it: Statement) -> Markup:
    if not it.lots:
        return Markup("")
    shown = [part for part in _LOT_PARTS if part[0] == "left" or any(map(part[1], it.lots))]
    rows = [("", (_lot_name(each), *(Nano(of(each)) for _, of in shown))) for each in it.lots]
    foot = ("Together", *(Nano(sum(map(of, it.lots))) for _, of in shown))
    words = "Credits are used lot by lot, the one that expires soonest first."
    titles = [("lot", False), *((name, True) for name, _ in shown)]
    return section("Credits", note(words), table(titles, rows, foot))


def _lot_name(each: LotMonth) -> str:
    expires = f"expires {each.expires_on}" if each.expires_on else ""
    return ", ".join(filter(None, (f"lot {each.lot}", each.kind, each.reference, expires)))


def _movements(it: Statement) -> Markup:
    if not it.movements:
        return Markup("")
    titles = [("day", False), ("what", False), ("lots", False)]
    titles += [("credits", True), ("to be invoiced", True), ("arrears", True)]
    rows = [
        ("", (each.posted_on, ", ".join(filter(None, (each.what, each.reference))),
              _lots(each.lots), *(Nano(of(each.moved)) for _, of in _BOOKS)))
        for each in it.movements
    ]  # fmt: skip
    return section(
        "Credits bought, granted, refunded, expired; arrears repaid", table(titles, rows)
    )


def _invoiced(it: Statement) -> Markup:
    told = wording.told(it.told)
    if not told:
        return Markup("")
    rows = [("", (what, Nano(nano))) for what, nano in told]
    return section("Invoiced", table([("what", False), ("taken off what is owed", True)], rows))


def _restated(it: Statement) -> Markup:
    found = it.restated
    if not found.days:
        return Markup("")
    titles = [("day", False), ("its hours", False), ("cluster, and namespaces", False)]
    titles += [("why", False), ("difference", True)]
    rows = [
        ("", (each.day, wording.hours_of_day(each), f"{each.cluster} / {wording.namespaces(each)}",
              wording.change(each), "" if each.moved_nano is None else Nano(each.moved_nano)))
        for each in found.days
    ]  # fmt: skip
    told = wording.RESTATED
    if any(each.moved_nano is None for each in found.days):
        told += f" {wording.SHARED}"
    foot = ("Together", "", "", "", Nano(found.moved_nano))
    parts = [note(told), table(titles, rows, foot)]
    parts += [note(wording.more(found))] if found.more else []
    return section("Corrections within this month", *parts)


def _corrections(it: Statement) -> Markup:
    if not it.corrections:
        return Markup("")
    titles = [
        ("day, and its hours", False),
        ("why", False),
        ("was charged", True),
        ("is charged", True),
    ]
    titles += [("difference", True)]
    rows: list[Row] = []
    for each in it.corrections:
        words = f"{each.day}, corrected on {each.posted_on}"
        rows.append(("day", (words, _lots(each.lots), "", "", Nano(each.charge_nano))))
        for hour in each.hours:
            place = f"{hour.cluster} / {hour.namespace}, {hour_text(hour.hour)}"
            amounts = (hour.before_nano, hour.after_nano, hour.moved_nano)
            cells = ("" if nano is None else Nano(nano) for nano in amounts)
            rows.append(("part", (place, hour.why, *cells)))
    foot = ("Together", "", "", "", Nano(it.correction_nano))
    told = (
        "Days of other months whose statements were closed, corrected by postings of this month. A"
        " minus means less was charged."
    )
    if any(hour.moved_nano is None for each in it.corrections for hour in each.hours):
        told += f" {wording.SHARED}"
    return section("Corrections of other months", note(told), table(titles, rows, foot))


def _hours(it: Statement) -> Markup:
    parts: list[str] = []
    for each in it.clusters:
        parts.append(f"<p>{text(wording.hours(each))}</p>")
        parts.append(listed([wording.span(span) for span in each.spans]))
    return section("Hours that are missing or not settled", *parts) if parts else Markup("")


def _foot(found: Presented) -> Markup:
    frozen = (
        f"<p>SHA-256 of the frozen figures: <code>{found.sha256}</code></p>" if found.sha256 else ""
    )
    return Markup(
        f"<footer>\n<p>{text(wording.ROUNDING)}</p>\n<p>{text(wording.proof(found))}</p>\n"
        f"<p>SHA-256 of the entries: <code>{text(found.statement.entries_sha256)}</code></p>\n"
        f"{frozen}\n</footer>"
    )
