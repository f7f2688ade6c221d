"""`hopsmeter rates …`"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import click

from core.clock import floor_hour, hour_text, parse_hour
from core.commands.arguments import RatesAssign, RatesNew, RatesUnassign
from core.money import text_from_nano
from core.rates.factor import factor_text
from core.reports.rates import PlanStory, Quote, plan_story, plans
from core.reports.rates import quote as quote_of
from tui.cli.asking import ask, writing
from tui.cli.output import Column, Form, hour, listing, pairs, plain, show, show_json, table
from tui.cli.session import Session
from tui.cli.words import HOUR_TEXT

DECIMALS = 6
"""As many as a factor has."""


@click.group()
def rates() -> None:
    """What a cost is charged as: plans, their versions, who pays by which."""


@rates.command(
    epilog="\b\nExamples:\n  hopsmeter rates new team --factor 1.2\n"
    "  hopsmeter rates new team --factor 1.25 --from 2026-04-01 --dry-run\n"
    "  hopsmeter rates new free --factor 0"
)
@click.argument("plan")
@click.option("--factor", required=True, help="Cost × this is charged; 0 is free.")
@click.option(
    "--from", "from_hour", type=HOUR_TEXT, metavar="HOUR", help="When it begins; see above."
)
@writing()
@click.pass_obj
def new(
    session: Session, plan: str, factor: str, from_hour: str | None, dry_run: bool, why: str
) -> None:
    """Make a plan, or the next version of one.

    A version is never changed, only followed by a later one. Without --from a new plan holds from
    ever, and another version from the coming hour on. Where hours are charged by a plan already,
    its versions begin with an hour to come.
    """
    given = RatesNew(plan=plan, factor=factor, from_hour=from_hour)
    ask(session, "rates.new", given, dry_run=dry_run, why=why)


@rates.command(
    epilog="\b\nExample:\n  hopsmeter rates assign anna@example.com team --from 2026-03-01 \\\n"
    "    --dry-run"
)
@click.argument("account")
@click.argument("plan")
@click.option(
    "--from", "from_hour", type=HOUR_TEXT, metavar="HOUR", help="Else the hour that runs."
)
@writing()
@click.pass_obj
def assign(
    session: Session, account: str, plan: str, from_hour: str | None, dry_run: bool, why: str
) -> None:
    """Let an account (id or e-mail) pay by a plan.

    Dated back, it charges the hours since then anew; --dry-run tells how much that is.
    """
    given = RatesAssign(account=account, plan=plan, from_hour=from_hour)
    ask(session, "rates.assign", given, dry_run=dry_run, why=why)


@rates.command(
    epilog="\b\nExample:\n  hopsmeter rates unassign anna@example.com --from 2026-03-15T00Z"
)
@click.argument("account")
@click.option(
    "--from", "from_hour", type=HOUR_TEXT, metavar="HOUR", help="Else the hour that runs."
)
@writing()
@click.pass_obj
def unassign(
    session: Session, account: str, from_hour: str | None, dry_run: bool, why: str
) -> None:
    """Let an account pay by the default plan again."""
    given = RatesUnassign(account=account, from_hour=from_hour)
    ask(session, "rates.unassign", given, dry_run=dry_run, why=why)


@rates.command("list", epilog="\b\nExample:\n  hopsmeter rates list --csv")
@listing
@click.pass_obj
def list_(session: Session, form: Form) -> None:
    """All plans: what they charge now, and next."""
    with session.connection(read_only=True) as connection:
        found = plans(connection, session.now())
    columns = (
        Column("plan", lambda each: each.plan),
        Column("", lambda each: "default" if each.is_default else ""),
        Column("cost ×", lambda each: _factor(each.factor), "right"),
        Column("since", lambda each: hour(each.since)),
        Column("next ×", lambda each: _factor(each.next_factor), "right"),
        Column("from", lambda each: hour(each.next_since)),
        Column("accounts", lambda each: str(each.accounts), "right"),
    )
    show(form, found, columns, empty="No plan.")


@dataclass(frozen=True)
class _Row:
    """A version or an account of a plan, as a spreadsheet takes both."""

    plan: str
    what: str
    since: datetime
    until: datetime | None
    factor: Decimal | None
    account_id: str
    email: str
    created_by: str


@rates.command("show", epilog="\b\nExample:\n  hopsmeter rates show team")
@click.argument("plan")
@listing
@click.pass_obj
def show_(session: Session, plan: str, form: Form) -> None:
    """One plan: its versions, and who is assigned to it."""
    with session.connection(read_only=True) as connection:
        found = plan_story(connection, plan, session.now())
    if form == "json":
        versions = [plain(each) for each in found.versions]
        accounts = [plain(each) for each in found.accounts]
        show_json({**plain(found.line), "versions": versions, "assigned": accounts})
    elif form == "csv":
        show(form, _rows(found), (), empty="")
    else:
        _tell(found)


def _rows(found: PlanStory) -> list[_Row]:
    name = found.line.plan
    versions = [
        _Row(name, "version", each.since, each.until, each.factor, "", "", "")
        for each in found.versions
    ]
    return versions + [
        _Row(
            name,
            "account",
            each.since,
            each.until,
            None,
            each.account_id,
            each.email,
            each.created_by,
        )
        for each in found.accounts
    ]


def _tell(found: PlanStory) -> None:
    line = found.line
    default = ", of every account that is assigned to none" if line.is_default else ""
    pairs([("plan", f"{line.plan}{default}"), ("kind", line.kind.replace("_", "-"))])
    click.echo()
    versions = (
        Column("cost ×", lambda each: _factor(each.factor), "right"),
        Column("from", lambda each: hour(each.since)),
        Column("until", lambda each: hour(each.until)),
    )
    table(found.versions, versions)
    if found.accounts:
        accounts = (
            Column("e-mail", lambda each: each.email),
            Column("account", lambda each: each.account_id),
            Column("from", lambda each: hour(each.since)),
            Column("until", lambda each: hour(each.until)),
            Column("by", lambda each: each.created_by),
        )
        click.echo()
        table(found.accounts, accounts)


@rates.command(epilog="\b\nExample:\n  hopsmeter rates quote anna@example.com --at 2026-03-01T14Z")
@click.argument("account")
@click.option("--at", "at", type=HOUR_TEXT, metavar="HOUR", help="Else the hour that runs.")
@listing
@click.pass_obj
def quote(session: Session, account: str, at: str | None, form: Form) -> None:
    """What an account is charged: its plan, its version."""
    asked = parse_hour(at) if at else floor_hour(session.now())
    with session.connection(read_only=True) as connection:
        found = quote_of(connection, account, asked)
    if form != "table":
        show(form, [found], (), empty="")
        return
    one = text_from_nano(found.charge_of_one_nano, DECIMALS)
    pairs(
        [
            ("account", f"{found.account_id} ({found.email})"),
            ("hour", hour_text(found.hour)),
            ("plan", f"{found.plan}, {_why(found)}"),
            (
                "version",
                f"cost × {factor_text(found.factor)}, {_span(found.version_since, found.version_until)}",
            ),
            ("so", f"1.00 of cost is charged as {one}"),
        ]
    )


def _why(found: Quote) -> str:
    if found.assigned_since is None:
        return "the default: the account is assigned to none"
    return f"assigned {_span(found.assigned_since, found.assigned_until)}"


def _span(since: datetime, until: datetime | None) -> str:
    end = f"until {hour_text(until)}" if until else "on"
    return f"from {hour_text(since)} {end}"


def _factor(factor: Decimal | None) -> str:
    return "" if factor is None else factor_text(factor)
