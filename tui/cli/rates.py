"""`hopsmeter rates …`"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import click

from core.clock import floor_hour, hour_text, parse_hour
from core.commands.arguments import RatesAssign, RatesNew, RatesUnassign
from core.money import text_from_nano
from core.rates.terms import Terms
from core.reports.rates import PlanLine, PlanStory, Quote, plan_story, plans
from core.reports.rates import quote as quote_of
from tui.cli.asking import ask, writing
from tui.cli.output import Column, Form, hour, listing, pairs, plain, show, show_json, table
from tui.cli.rates_preview import preview_
from tui.cli.session import Session
from tui.cli.words import HOUR_TEXT, PAIR, by_name

DECIMALS = 6
"""As many as a factor has."""
KIND_WORDS = {"cost_plus": "cost-plus", "rate_card": "rate card"}


@click.group()
def rates() -> None:
    """What a cost is charged as: plans, and who pays by which."""


rates.add_command(preview_)


@rates.command(
    epilog="\b\nExamples:\n  hopsmeter rates new team --factor 1.2 --kind gpu=1.5\n"
    "  hopsmeter rates new team --factor 1.25 --from 2026-04-01 --dry-run\n"
    "  hopsmeter rates new free --factor 0\n"
    "  hopsmeter rates new card --currency EUR --price cpu=0.03 --price ram=0.004 \\\n"
    "    --included cpu=100"
)
@click.argument("plan")
@click.option("--factor", help="Cost-plus: cost × this is charged; 0 is free.")
@click.option(
    "--kind",
    "factors",
    type=PAIR,
    multiple=True,
    metavar="KIND=FACTOR",
    help="A factor for one kind of cost: cpu, gpu, ram, pv, network, load-balancer, shared, external.",
)
@click.option(
    "--price",
    "prices",
    type=PAIR,
    multiple=True,
    metavar="RESOURCE=PRICE",
    help="A rate card: for a core-hour (cpu), a GPU-hour (gpu), a GiB-hour (ram, pv), a GiB sent"
    " (network). What has no price is free.",
)
@click.option(
    "--included",
    type=PAIR,
    multiple=True,
    metavar="RESOURCE=NUMBER",
    help="On a rate card: as many units are free for each account and calendar month.",
)
@click.option("--currency", help="Of the prices; on a cost-plus plan only to hold it to one.")
@click.option(
    "--from", "from_hour", type=HOUR_TEXT, metavar="HOUR", help="When it begins; see above."
)
@writing()
@click.pass_obj
def new(
    session: Session,
    plan: str,
    factor: str | None,
    factors: tuple[tuple[str, str], ...],
    prices: tuple[tuple[str, str], ...],
    included: tuple[tuple[str, str], ...],
    currency: str | None,
    from_hour: str | None,
    dry_run: bool,
    why: str,
) -> None:
    """Make a plan, or the next version of one.

    A plan is cost-plus (--factor) or a rate card (--price), and stays that. A version says all that
    it charges, is never changed, only followed by a later one. Without --from a new plan holds for
    any hour, and another version from the coming hour on. Where hours are charged by a plan already,
    its versions begin with an hour to come; those with something included, with a 1st.
    """
    given = RatesNew(
        plan=plan,
        factor=factor,
        factors=by_name("--kind", factors),
        prices=by_name("--price", prices),
        included=by_name("--included", included),
        currency=currency,
        from_hour=from_hour,
    )
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
        Column("accounts", lambda each: str(each.accounts), "right"),
        Column("since", lambda each: hour(each.since)),
        Column("charges", lambda each: each.charges),
        Column("next from", lambda each: hour(each.next_since)),
        Column("next", lambda each: each.next_charges),
    )
    if form == "csv":
        show(form, [_flat(each) for each in found], (), empty="")
    else:
        show(form, found, columns, empty="No plan.")


def _flat(line: PlanLine) -> dict[str, Any]:
    """Return a plan as a spreadsheet takes it: in words, the figures are in `rates show`."""
    return {
        each.name: getattr(line, each.name)
        for each in fields(line)
        if each.name not in ("now", "next")
    }


@dataclass(frozen=True)
class _Row:
    """A version or an account of a plan, as a spreadsheet takes both."""

    plan: str
    what: str
    since: datetime
    until: datetime | None
    account_id: str
    email: str
    created_by: str
    charges: str
    terms: Terms

    @property
    def plain(self) -> dict[str, Any]:
        """Return it with a column for each number that a version may have."""
        named = {each.name: getattr(self, each.name) for each in fields(self)}
        del named["terms"]
        return named | self.terms.columns()


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
        show(form, [each.plain for each in _rows(found)], (), empty="")
    else:
        _tell(found)


def _rows(found: PlanStory) -> list[_Row]:
    name = found.line.plan
    versions = [
        _Row(name, "version", each.since, each.until, "", "", "", each.charges, each.terms)
        for each in found.versions
    ]
    return versions + [
        _Row(
            name,
            "account",
            each.since,
            each.until,
            each.account_id,
            each.email,
            each.created_by,
            "",
            Terms(),
        )
        for each in found.accounts
    ]


def _tell(found: PlanStory) -> None:
    line = found.line
    default = ", of every account that is assigned to none" if line.is_default else ""
    pairs(
        [
            ("plan", f"{line.plan}{default}"),
            ("kind", KIND_WORDS[line.kind]),
            ("currency", line.currency or ""),
        ]
    )
    click.echo()
    versions = (
        Column("from", lambda each: hour(each.since)),
        Column("until", lambda each: hour(each.until)),
        Column("charges", lambda each: each.charges),
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
    one = found.charge_of_one_nano
    pairs(
        [
            ("account", f"{found.account_id} ({found.email})"),
            ("hour", hour_text(found.hour)),
            ("plan", f"{found.plan}, {_why(found)}"),
            (
                "version",
                f"{found.charges}, {_span(found.version_since, found.version_until)}",
            ),
            (
                "so",
                ""
                if one is None
                else f"1.00 of cost is charged as {text_from_nano(one, DECIMALS)}",
            ),
        ]
    )


def _why(found: Quote) -> str:
    if found.assigned_since is None:
        return "the default: the account is assigned to none"
    return f"assigned {_span(found.assigned_since, found.assigned_until)}"


def _span(since: datetime, until: datetime | None) -> str:
    end = f"until {hour_text(until)}" if until else "on"
    return f"from {hour_text(since)} {end}"
