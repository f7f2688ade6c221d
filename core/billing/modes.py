"""How an account pays: its mode, dated in whole UTC days to come, and its policy about credits."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import psycopg

from core.audit.trail import record
from core.billing.marks import mark_accounts
from core.clock import day_of
from core.db.queries import queries_beside
from core.errors import Conflict, InputFault
from core.identity.accounts import find_account, require_currency
from core.identity.principal import Principal

_SQL = queries_beside(__file__)
MODES: Final = ("postpaid", "prepaid", "hybrid")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class ModeChange:
    """How an account pays from `since` on; `dropped` are modes to come that it replaced."""

    account: str
    mode: str
    mode_before: str
    since: date
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """What a prepaid account may owe (0: it stops), and below which credits somebody is told."""

    grace_nano: int
    low_nano: int | None


@dataclass(frozen=True)
class PolicyChange:
    """What an account's policy was and is; amounts in nano-units of `currency`."""

    account: str
    currency: str | None
    before: Policy
    after: Policy


def set_mode(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    mode: str,
    since: date | None,
    why: str,
    now: datetime,
) -> ModeChange:
    """Let an account pay in a mode from a day to come on, without one from tomorrow (UTC).

    What was set to begin later is replaced: the account pays so until it is told otherwise.
    """
    principal.require_admin("change how accounts pay")
    if mode not in MODES:
        raise InputFault(f"{mode[:40]!r} is no mode: {', '.join(MODES)}. Nothing was changed.")
    payer = find_account(connection, account)
    tomorrow = day_of(now) + timedelta(days=1)
    start = since or tomorrow
    if start < tomorrow:
        raise Conflict(
            f"A mode begins on a day to come, {tomorrow} at the earliest (00:00 UTC): the days"
            " until then are posted as they are. Nothing was changed."
        )
    _require_unposted(connection, start)
    values = {"account_no": payer.no, "since": start}
    known = connection.execute(_SQL["modes_touching"], values).fetchall()
    before = next((row[1] for row in known if row[2] <= start), "postpaid")
    if before == mode and all(row[2] <= start for row in known):
        raise Conflict(f"{payer.label} pays {mode} from {start} on already. Nothing was changed.")
    for number, _, begins, _ in known:
        name = "end_mode" if begins < start else "drop_mode"
        connection.execute(_SQL[name], {"id": number, "until": start})
    connection.execute(_SQL["add_mode"], {**values, "mode": mode, "by": principal.actor})
    keep = {"account_no": payer.no, "grace_nano": None, "low_nano": None, "keep_low": True}
    connection.execute(_SQL["keep_policy"], keep)
    dropped = tuple(row[1] for row in known if row[2] > start)
    change = ModeChange(payer.id, mode, before, start, dropped)
    record(
        connection,
        principal,
        "account.mode",
        f"account {payer.id}",
        before={"mode": before, "dropped": list(dropped)},
        after={"mode": mode, "from": str(start)},
        why=why,
    )
    return change


def _require_unposted(connection: Connection, start: date) -> None:
    """Keep one mode per day: a clock that is behind calls a day to come what another has posted."""
    row = connection.execute(_SQL["posted_since"], {"day": start}).fetchone()
    if row is not None:
        raise Conflict(
            f"{row[0]} is posted already, by the clock of whoever posts; this one is behind it."
            " Let the mode begin on a later day. Nothing was changed."
        )


def set_policy(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    grace_nano: int | None,
    low_nano: int | None,
    keep_low: bool,
    why: str,
    now: datetime,
) -> PolicyChange:
    """Say what an account may owe, and when its owner is told; None for `grace_nano` leaves it."""
    principal.require_admin("change the policy of accounts")
    payer = find_account(connection, account)
    if grace_nano is not None and grace_nano < 0:
        raise InputFault("A grace limit is 0, which is to stop, or more. Nothing was changed.")
    if low_nano is not None and low_nano <= 0:
        raise InputFault("The amount to warn below is more than zero. Nothing was changed.")
    if grace_nano or low_nano:
        require_currency(payer, None)
    before = _policy(connection, payer.no)
    values = {
        "account_no": payer.no,
        "grace_nano": grace_nano,
        "low_nano": low_nano,
        "keep_low": keep_low,
    }
    connection.execute(_SQL["keep_policy"], values)
    mark_accounts(connection, now, [payer.no])
    after = _policy(connection, payer.no)
    record(
        connection,
        principal,
        "account.policy",
        f"account {payer.id}",
        before={"grace_nano": before.grace_nano, "low_nano": before.low_nano},
        after={"grace_nano": after.grace_nano, "low_nano": after.low_nano},
        why=why,
    )
    return PolicyChange(payer.id, payer.currency, before, after)


def _policy(connection: Connection, account_no: int) -> Policy:
    row = connection.execute(
        "SELECT grace_nano, low_nano FROM hopsmeter.user_credits WHERE account_no = %s",
        [account_no],
    ).fetchone()
    return Policy(*row) if row else Policy(0, None)


def mirror_modes(connection: Connection, now: datetime) -> int:
    """Bring `users.billing_mode` to the mode of today, for whoever reads that table; return how many.

    We read `billing_modes` alone.
    """
    values = {"today": day_of(now)}
    return connection.execute(_SQL["mirror_modes"], values).rowcount
