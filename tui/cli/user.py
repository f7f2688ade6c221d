"""`hopsmeter user …`"""

from datetime import date

import click

from core.clock import day_of
from core.commands.arguments import UserAdd
from core.identity.logins import every_login
from core.identity.users import every_user, find_user
from core.reports.costs import namespaces
from tui.cli.asking import ask, writing
from tui.cli.output import (
    Column,
    Form,
    cost,
    instant,
    listing,
    pairs,
    plain,
    show,
    show_json,
    table,
)
from tui.cli.session import Session


@click.group()
def user() -> None:
    """People: whose namespaces cost, and who may do what."""


@user.command(
    epilog="\b\nExamples:\n  hopsmeter user add 'auth0|64f1c2' anna@example.com --name Anna\n"
    "  hopsmeter user add 'auth0|70aa01' olaf@example.com --admin --role olaf"
)
@click.argument("user_id", metavar="ID")
@click.argument("email")
@click.option("--name", default="", help="How people call this user.")
@click.option("--owner", metavar="USER", help="Who pays for this team member: id or e-mail.")
@click.option("--admin", is_flag=True, help="May do everything.")
@click.option("--role", help="The database role that logs in; `hopsmeter admin login` makes one.")
@click.option("--may-assert", is_flag=True, help="That role may speak for others (--as).")
@writing()
@click.pass_obj
def add(
    session: Session,
    user_id: str,
    email: str,
    name: str,
    owner: str | None,
    admin: bool,
    role: str | None,
    may_assert: bool,
    dry_run: bool,
    why: str,
) -> None:
    """Add a user by Auth0 id and e-mail."""
    given = UserAdd(
        user=user_id,
        email=email,
        name=name,
        owner=owner,
        admin=admin,
        role=role,
        may_assert=may_assert,
    )
    ask(session, "user.add", given, dry_run=dry_run, why=why)


@user.command("list", epilog="\b\nExample:\n  hopsmeter user list --csv")
@listing
@click.pass_obj
def list_(session: Session, form: Form) -> None:
    """All users, by e-mail."""
    with session.connection(read_only=True) as connection:
        users = every_user(connection)
    columns = (
        Column("e-mail", lambda each: each.email),
        Column("id", lambda each: each.id),
        Column("name", lambda each: each.name),
        Column("pays", lambda each: each.account_owner_id or "himself"),
        Column("mode", lambda each: "" if each.account_owner_id else each.billing_mode),
        Column("status", lambda each: each.status),
        Column("admin", lambda each: "admin" if each.is_admin else ""),
    )
    show(form, users, columns, empty="No user yet; `hopsmeter admin bootstrap` makes the first.")


@user.command("show", epilog="\b\nExample:\n  hopsmeter user show anna@example.com")
@click.argument("who", metavar="USER")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_(session: Session, who: str, as_json: bool) -> None:
    """One user (id or e-mail), the logins, and this month's namespaces."""
    today = day_of(session.now())
    first = date(today.year, today.month, 1)
    with session.connection(read_only=True) as connection:
        found = find_user(connection, who)
        logins = [each for each in every_login(connection) if each.user_id == found.id]
        costs = namespaces(connection, first, today, user_id=found.id)
    if as_json:
        show_json(
            {
                **plain(found),
                "logins": [plain(each) for each in logins],
                "namespaces": [plain(each) for each in costs],
            }
        )
        return
    pairs(
        [
            ("id", found.id),
            ("e-mail", found.email),
            ("name", found.name),
            ("pays", found.account_owner_id or "himself"),
            ("mode", "" if found.account_owner_id else found.billing_mode),
            ("status", f"{found.status}{', admin' if found.is_admin else ''}"),
            ("since", instant(found.created_at)),
            ("logins", ", ".join(each.role for each in logins)),
        ]
    )
    columns = (
        Column("cluster", lambda each: each.cluster),
        Column("namespace", lambda each: each.namespace),
        Column("hours", lambda each: str(each.hours), "right"),
        Column("this month", lambda each: cost(each.total_nano, each.currency), "right"),
    )
    if costs:
        click.echo()
        table(costs, columns)
