"""`hopsmeter admin`, `db`, `secrets`, `doctor`: set-up, mostly without the daemon."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands.arguments import LoginRemove
from core.errors import HopsmeterError, SettingsFault
from core.identity.logins import every_login
from tui.cli.asking import ask, writing
from tui.cli.cluster import MARKS
from tui.cli.output import Column, Form, instant, listing, pairs, plain, say, show, show_json
from tui.cli.session import Connection, Session
from tui.format import clean

if TYPE_CHECKING:
    from core.clusters.vault import Keyring


@contextmanager
def _setting_up(session: Session) -> Iterator[Connection]:
    """Lend a connection inside one transaction: set-up is done wholly or not at all."""
    with session.connection() as connection, connection.transaction():
        yield connection


@click.group(short_help="Who may come in.")
def admin() -> None:
    """Who may come in: the first admin, and the database roles of people.

    `bootstrap` and `login` connect as the owner of the schema (HOPSMETER_DATABASE_URL), or to the
    daemon's own database.
    """


@admin.command(
    short_help="Make the first admin, and its login.",
    epilog="\b\nExample:\n  hopsmeter admin bootstrap 'auth0|64f1c2' olaf@example.com --role olaf",
)
@click.argument("user_id", metavar="ID")
@click.argument("email")
@click.option("--name", default="", help="How people call this user.")
@click.option("--role", help="The role that logs in, made if missing; else the one connected.")
@click.pass_obj
def bootstrap(session: Session, user_id: str, email: str, name: str, role: str | None) -> None:
    """Make the first admin and the first login; refused where there is one."""
    from core.identity.enrol import bootstrap as first

    with _setting_up(session) as connection:
        user, login = first(connection, user_id, email, name=name, role=role)
    click.echo(clean(f"{user.label} is the first admin, and logs in as {login.role}."))


@admin.command(
    short_help="Make a database role for a user.",
    epilog="\b\nExample:\n  hopsmeter admin login anna anna@example.com",
)
@click.argument("role")
@click.argument("user")
@click.option("--may-assert", is_flag=True, help="It may speak for others (--as).")
@click.option("--reason", "why", default="", metavar="TEXT", help="Why; kept in the audit trail.")
@click.pass_obj
def login(session: Session, role: str, user: str, may_assert: bool, why: str) -> None:
    """Make a database role for a user; set its password or peer mapping in PostgreSQL."""
    from core.identity.enrol import add_login

    with _setting_up(session) as connection:
        made = add_login(connection, role, user, may_assert=may_assert, why=why)
    click.echo(clean(f"The database role {made.role} is {made.user_id}'s."))


@admin.command("logins", epilog="\b\nExample:\n  hopsmeter admin logins")
@listing
@click.pass_obj
def logins_(session: Session, form: Form) -> None:
    """Which database role is which user."""
    with session.connection(read_only=True) as connection:
        found = every_login(connection)
    columns = (
        Column("role", lambda each: each.role),
        Column("user", lambda each: each.user_id),
        Column("speaks for others", lambda each: "yes" if each.may_assert else ""),
        Column("since", lambda each: instant(each.created_at)),
    )
    show(form, found, columns, empty="No login yet; `hopsmeter admin bootstrap` makes the first.")


@admin.command(
    short_help="Take a login away.",
    epilog="\b\nExample:\n  hopsmeter admin logout anna --reason 'left'",
)
@click.argument("role")
@writing()
@click.pass_obj
def logout(session: Session, role: str, dry_run: bool, why: str) -> None:
    """Take a login away: its database role may ask for nothing any more."""
    ask(session, "login.remove", LoginRemove(role=role), dry_run=dry_run, why=why)


@click.group()
def db() -> None:
    """The database: its schema and its roles."""


@db.command(
    short_help="Bring the schema to this version.",
    epilog="\b\nExample:\n  hopsmeter db upgrade",
)
@click.pass_obj
def upgrade(session: Session) -> None:
    """Bring the schema to this program's version; needs its owner, and no pooler in between."""
    from core.db.migrate import upgrade as upgraded

    click.echo(f"The schema is at version {upgraded(session.url())}.")


@db.command(
    short_help="Make the roles, give each its rights.",
    epilog="\b\nExample:\n  hopsmeter db roles",
)
@click.pass_obj
def roles(session: Session) -> None:
    """Make the roles of daemon and people, and give each exactly its rights; after an upgrade, too."""
    from core.db.roles import DAEMON, PERSON, ensure_roles

    with session.connection() as connection:
        ensure_roles(connection)
    click.echo(
        f"{DAEMON} is the daemon's role: give it a password or a peer mapping.\n"
        f"{PERSON} is the group of people: `hopsmeter admin login ROLE USER` adds one."
    )


@db.command(
    short_help="Whether the schema fits; exit 1 if not.",
    epilog="\b\nExample:\n  hopsmeter db status",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Where the database is, and whether its schema fits; exit 1 if not."""
    from core.db.connect import place
    from core.db.roles import roles_present
    from core.db.version import current_version, wanted_version

    url = session.url()
    with session.connection(read_only=True) as connection:
        row = connection.execute(
            "SELECT session_user::text, current_setting('server_version'),"
            " pg_size_pretty(pg_database_size(current_database()))"
        ).fetchone()
        found, wanted = current_version(connection), wanted_version()
        split = roles_present(connection)
    assert row is not None
    facts = {
        "database": place(url),
        "server": f"PostgreSQL {row[1]}",
        "role": row[0],
        "size": row[2],
        "schema": found or "none yet; `hopsmeter db upgrade` makes it",
        "wanted": wanted,
        "roles": "set up" if split else "not set up; `hopsmeter db roles` does",
    }
    if as_json:
        show_json({**facts, "schema": found, "roles": split})
    else:
        pairs(facts.items())
    if found != wanted:
        raise SystemExit(1)


@click.group(short_help="The keyring that seals secrets.")
def secrets() -> None:
    """The keyring that seals kubeconfigs and API keys; run as the daemon's account."""


@secrets.command(
    short_help="Make a keyring; never over another.",
    epilog="\b\nExample:\n  hopsmeter secrets init",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where; else the setting keyring, else in the state folder.",
)
@click.pass_obj
def init(session: Session, file: Path | None) -> None:
    """Make a keyring, mode 0400; never over one that is there."""
    from core.clusters.vault import init_keyring

    path = file
    if path is None:
        settings = session.settings()
        path = settings.keyring_path
        if path.parent == settings.state_folder:
            _make_state_folder(path.parent)
    public_key = init_keyring(path)
    click.echo(
        f"{path} is made. Keep a copy offline: without it nothing that is sealed can be opened.\n"
        f"Its public key: {public_key.fingerprint}"
    )


def _make_state_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as fault:
        raise SettingsFault(
            f"The state folder {folder} cannot be made: {fault.strerror}. Make it for this account,"
            " or name another one in HOPSMETER_STATE_FOLDER."
        ) from None


@secrets.command(
    "status",
    short_help="Which keys there are; never a key.",
    epilog="\b\nExample:\n  hopsmeter secrets status",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def secrets_status(session: Session, as_json: bool) -> None:
    """Which keys there are (ids, never keys), and whether the database was sealed with them."""
    from core.clusters.keys import open_keyring
    from core.clusters.vault import keyring_status

    keyring = open_keyring(session.settings())
    found = keyring_status(keyring)
    database = _sealed_with(session, keyring)
    if as_json:
        show_json({**plain(found), "database": database})
        return
    pairs(
        [
            ("keyring", found.source),
            ("seals with", found.primary_key_id),
            ("opens too", ", ".join(found.older_key_ids)),
            ("public key", found.public_key),
            ("fingerprint", found.fingerprint),
            ("database", database),
        ]
    )


def _sealed_with(session: Session, keyring: "Keyring") -> str:
    """Return which key the database knows; a keyring is there, and told of, before a database is."""
    from core.clusters.keys import check_keyring, may_check

    with ExitStack() as stack:
        try:
            connection = stack.enter_context(session.connection(read_only=True))
        except HopsmeterError as fault:
            return fault.message
        if not may_check(connection):
            return "not for this role to see; the daemon proves it at each start"
        known = check_keyring(connection, keyring)
    return f"sealed with key {known}" if known else "knows no key yet; the first start tells it"


@click.command(epilog="\b\nExample:\n  hopsmeter doctor --paths")
@click.option("--paths", is_flag=True, help="Show every setting and where it comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(session: Session, paths: bool, as_json: bool) -> None:
    """Look over the whole installation; exit 1 if something is wrong."""
    if paths:
        _paths(session, as_json=as_json)
        return
    from core.doctor import examine

    findings = examine(config=session.config)
    if as_json:
        show_json([plain(each) for each in findings])
    else:
        width = max(len(each.name) for each in findings)
        for each in findings:
            say(f"{MARKS[each.verdict]} {each.name:<{width}}  {each.saw}", hang=width + 4)
            if each.cure:
                say(f"  {'':<{width}}  → {each.cure}", hang=width + 6)
    if any(each.verdict == "fail" for each in findings):
        raise SystemExit(1)


def _paths(session: Session, *, as_json: bool) -> None:
    from core.settings import describe

    lines = describe(session.settings())
    if as_json:
        show_json([plain(each) for each in lines])
        return
    for line in lines:
        say(f"{line.name} = {line.value}  ({line.source})", hang=4)
        say(f"    {line.sentence}", hang=4)
