"""`hopsmeter credits show` and `statement`: lots, sums and lines, for eyes and for programs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from core.clock import day_of, month_bounds, parse_instant
from core.errors import InputFault
from core.money import exact_from_nano
from core.reports.credits import (
    ALWAYS,
    CreditLine,
    LotLine,
    Sums,
    credit_line,
    credit_lines,
    find_line,
    lots_at,
    mode_at,
    one_moment,
    sums_at,
)
from core.reports.ledger import Draw, Statement, StatementLine
from core.reports.ledger import statement as statement_of
from core.reports.runway import AHEAD_DAYS_MAX, Pace
from tui.cli.account import told
from tui.cli.output import (
    Column,
    Form,
    cost,
    instant,
    listing,
    money,
    pairs,
    plain,
    show,
    show_json,
    table,
)
from tui.cli.session import Session
from tui.cli.words import INSTANT_TEXT, MONTH_TEXT


@click.command(
    "show",
    epilog="\b\nExamples:\n  hopsmeter credits show anna@example.com\n"
    "  hopsmeter credits show anna@example.com --at 2026-03-01T14:30Z\n"
    "  hopsmeter credits show --all --csv",
)
@click.argument("who", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts with credits.")
@click.option(
    "--at",
    "at",
    type=INSTANT_TEXT,
    metavar="TIME",
    help="As it stood then (UTC): past, not to come.",
)
@listing
@click.pass_obj
def show_(session: Session, who: str | None, everybody: bool, at: str | None, form: Form) -> None:
    """Lots, what came and went, what is left, and when it runs out.

    A lot pays the days before it expires, the soonest first. It runs out at the mean of the last
    seven closed days, lots that expire unused included.
    """
    if who and everybody:
        raise click.UsageError(f"Both an account ({who}) and --all were given; choose one.")
    if not who and not everybody:
        raise click.UsageError("Name an account, or say --all.")
    if at and everybody:
        raise click.UsageError("A time past is shown of one account; name it.")
    if who and at:
        _show_past(session, who, parse_instant(at), form)
    elif who:
        _show_one(session, who, form)
    else:
        with session.connection(read_only=True) as connection, one_moment(connection):
            found = credit_lines(connection, session.principal(connection), session.now())
        show(
            form,
            found if form == "table" else [_flat(each) for each in found],
            _ALL,
            empty="No account has credits; `hopsmeter credits grant` gives some.",
        )


def _show_one(session: Session, who: str, form: Form) -> None:
    now = session.now()
    with session.connection(read_only=True) as connection, one_moment(connection):
        account = find_line(connection, session.principal(connection), who, now)
        line = credit_line(connection, account, now)
        lots = lots_at(connection, line.account, ALWAYS)
    if form == "json":
        show_json({**_flat(line), "lots": [plain(each) for each in lots]})
    elif form == "csv":
        show(form, lots, (), empty="")
    else:
        currency = line.account.currency
        ends = [("pace", _pace(line)), ("runs out", _runs_out(line))]
        pairs([*told(line.account), *_sums(line.sums, currency), *ends])
        _tell_lots(lots, currency)


def _show_past(session: Session, who: str, at: datetime, form: Form) -> None:
    if at > session.now():
        raise InputFault(f"{instant(at)} is still to come; name a time past.")
    with session.connection(read_only=True) as connection, one_moment(connection):
        account = find_line(connection, session.principal(connection), who, session.now())
        sums = sums_at(connection, account, at)
        lots = lots_at(connection, account, at)
        mode = mode_at(connection, account, at)
    known = {"account_id": account.account_id, "email": account.email, "at": at.isoformat()}
    if form == "json":
        past = {**known, "currency": account.currency, "mode": mode, **_without_no(sums)}
        show_json({**past, "lots": [plain(each) for each in lots]})
    elif form == "csv":
        show(form, lots, (), empty="")
    else:
        then = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        known_as = [("account", account.label), ("at", then), ("mode", mode)]
        pairs([*known_as, *_sums(sums, account.currency)])
        _tell_lots(lots, account.currency)


@click.command(
    "statement",
    epilog="\b\nExamples:\n  hopsmeter credits statement anna@example.com --month 2026-03\n"
    "  hopsmeter credits statement anna@example.com --entries --csv",
)
@click.argument("who", metavar="ACCOUNT")
@click.option("--month", type=MONTH_TEXT, metavar="YYYY-MM", help="Else the month that runs.")
@click.option("--entries", "each", is_flag=True, help="Every entry of the ledger by itself.")
@listing
@click.pass_obj
def statement_(session: Session, who: str, month: str | None, each: bool, form: Form) -> None:
    """The ledger's lines of an account, with what paid them.

    What hour after hour posts of one day is one line, unless --entries is said. Beside each change
    stands what is in the book after it; arrears and receivable are what the account owes.
    """
    now = session.now()
    first, after = month_bounds(month or f"{day_of(now):%Y-%m}")
    with session.connection(read_only=True) as connection, one_moment(connection):
        account = find_line(connection, session.principal(connection), who, now)
        found = statement_of(connection, account, first, after, each=each)
    if form == "json":
        show_json({**plain(found), "account": plain(account)})
    elif form == "csv":
        show(form, [_with_lots(line) for line in found.lines], (), empty="")
    else:
        _tell_statement(found)


def _tell_statement(found: Statement) -> None:
    currency = found.account.currency
    click.echo(f"{found.account.label}, {found.first:%Y-%m}")
    opening = [
        ("credits", found.opening_credits_nano),
        ("arrears", found.opening_arrears_nano),
        ("receivable", found.opening_receivable_nano),
    ]
    pairs([(f"{name} before", money(nano, currency)) for name, nano in opening])
    click.echo()
    if not found.lines:
        click.echo(f"Nothing was posted in {found.first:%Y-%m}.")
        return
    table(found.lines, _lines(currency))


def _lines(currency: str) -> tuple[Column, ...]:
    def amount(name: str) -> Any:
        return lambda each: cost(getattr(each, name), currency)

    return (
        Column("day", lambda each: str(each.posted_on)),
        Column("what", lambda each: each.what),
        Column("credits", amount("credits_nano"), "right"),
        Column("then", amount("credits_after_nano"), "right"),
        Column("arrears", amount("arrears_nano"), "right", below=True),
        Column("arrears then", amount("arrears_after_nano"), "right", below=True),
        Column("receivable", amount("receivable_nano"), "right", below=True),
        Column("receivable then", amount("receivable_after_nano"), "right", below=True),
        Column("lots; why", _lots_and_why, below=True),
    )


def _lots_and_why(line: StatementLine) -> str:
    return "; ".join(filter(None, (_lots_text(line.draws), line.why)))


def _lots_text(draws: Sequence[Draw]) -> str:
    return ", ".join(f"lot {each.lot}: {exact_from_nano(each.amount_nano)}" for each in draws)


def _with_lots(line: StatementLine) -> dict[str, Any]:
    """Return a line as a spreadsheet takes it: the lots in one cell."""
    flat = plain(line)
    flat["draws"] = _lots_text(line.draws)
    return flat


def _without_no(record: Any) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name != "account_no"}


def _flat(line: CreditLine) -> dict[str, Any]:
    """Return all figures of an account side by side; `pace_nano` is the mean charge of a day."""
    return {
        **_without_no(line.account),
        **_without_no(line.sums),
        "pace_nano": line.pace.a_day_nano,
        "pace_days": line.pace.days,
        "runs_out_on": line.runs_out_on.isoformat() if line.runs_out_on else None,
    }


def _sums(sums: Sums, currency: str) -> list[tuple[str, str]]:
    parts = (
        ("bought", sums.bought_nano),
        ("granted", sums.granted_nano),
        ("refunded", sums.refunded_nano),
        ("used", sums.used_nano),
        ("expired", sums.expired_nano),
    )
    books = (
        ("credits", sums.credits_nano),
        ("arrears", sums.arrears_nano),
        ("receivable", sums.receivable_nano),
    )
    return [(name, money(nano, currency)) for name, nano in books] + [
        (name, money(nano, currency)) for name, nano in parts if nano
    ]


def _pace(line: CreditLine) -> str:
    pace: Pace = line.pace
    if not pace.days:
        return "no charge on the last closed days"
    days = "1 closed day" if pace.days == 1 else f"{pace.days} closed days"
    return f"{money(pace.a_day_nano, line.account.currency)} a day, the mean of {days}"


def _runs_out(line: CreditLine) -> str:
    if line.sums.credits_nano <= 0:
        return ""
    if not line.account.deducts:
        return "never: a postpaid account does not use them"
    if line.runs_out_on is None:
        return f"not within {AHEAD_DAYS_MAX // 365} years"
    return f"{line.runs_out_on}, at this pace"


def _tell_lots(lots: Sequence[LotLine], currency: str) -> None:
    if not lots:
        return
    columns = (
        Column("lot", lambda each: str(each.lot), "right"),
        Column("kind", lambda each: each.kind),
        Column("amount", lambda each: cost(each.amount_nano, currency), "right"),
        Column("left", lambda each: cost(each.remaining_nano, currency), "right"),
        Column("expires", _expiry),
        Column("priority", lambda each: str(each.priority), "right", below=True),
        Column("since", lambda each: instant(each.since), below=True),
        Column("why", lambda each: each.why, below=True),
    )
    click.echo()
    table(lots, columns)


def _expiry(each: LotLine) -> str:
    if each.expired_at is not None:
        return f"expired {day_of(each.expired_at)}"
    return str(each.expires_on or "never")


_ALL = (
    Column("e-mail", lambda each: each.account.email),
    Column("mode", lambda each: each.account.mode),
    Column("credits", lambda each: cost(each.sums.credits_nano, each.account.currency), "right"),
    Column(
        "used", lambda each: cost(each.sums.used_nano, each.account.currency), "right", below=True
    ),
    Column(
        "expired",
        lambda each: cost(each.sums.expired_nano, each.account.currency),
        "right",
        below=True,
    ),
    Column("arrears", lambda each: cost(each.sums.arrears_nano, each.account.currency), "right"),
    Column("runs out", lambda each: str(each.runs_out_on or ""), below=True),
    Column("account", lambda each: each.account.account_id, below=True),
)
