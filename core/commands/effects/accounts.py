"""Accounts: how they pay, what they may owe, and arrears that no credits will repay."""

from typing import Any

from msgspec import UNSET

from core.billing.arrears import settle_arrears
from core.billing.balances import balances_of
from core.billing.modes import Policy, set_mode, set_policy
from core.clock import parse_day
from core.commands.arguments import AccountMode, AccountNamed, AccountPolicy
from core.commands.effects.credit import difference
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.identity.accounts import find_account
from core.money import exact_from_nano, nano_from_text


def mode(task: Task[AccountMode]) -> Result:
    given = task.arguments
    change = set_mode(
        task.connection,
        task.principal,
        account=given.account,
        mode=given.mode,
        since=parse_day(given.from_day) if given.from_day else None,
        why=task.why,
        now=task.now,
    )
    said = f"{change.account} pays {change.mode} from {change.since} on"
    if change.dropped:
        said += f", and not {', '.join(change.dropped)} as was set to begin later"
    payer = find_account(task.connection, change.account)
    owed_nano = balances_of(task.connection, payer).arrears_nano
    if change.mode != "prepaid" and owed_nano > 0:
        said += (
            f". It owes {exact_from_nano(owed_nano)} {payer.currency} of arrears: once it pays"
            f" {change.mode}, `hopsmeter account settle-arrears '{change.account}'` makes them"
            " receivable"
        )
    return Result(
        f"{said}.",
        {"mode": [change.mode_before, change.mode]},
        {"account": change.account, "from": str(change.since), "dropped": list(change.dropped)},
    )


def policy(task: Task[AccountPolicy]) -> Result:
    given = task.arguments
    if given.grace is UNSET and given.warn_below is UNSET:
        raise InputFault("Say what changes: the grace limit, or the amount to warn below.")
    warned = given.warn_below if given.warn_below is not UNSET else None
    change = set_policy(
        task.connection,
        task.principal,
        account=given.account,
        grace_nano=None if given.grace is UNSET else nano_from_text(given.grace),
        low_nano=None if warned is None else nano_from_text(warned),
        keep_low=given.warn_below is UNSET,
        why=task.why,
        now=task.now,
    )
    said = f"{change.account} {_word(change.after, change.currency or '')}."
    return Result(said, _changed(change.before, change.after), {"currency": change.currency})


def settle(task: Task[AccountNamed]) -> Result:
    done = settle_arrears(
        task.connection,
        task.principal,
        account=task.arguments.account,
        why=task.why,
        now=task.now,
    )
    moved = f"{exact_from_nano(done.moved_nano)} {done.currency}"
    said = (
        f"{moved} of arrears of {done.account} are receivable from now on, on the statement of"
        f" {done.posted_on}."
    )
    details = {"moved_nano": done.moved_nano, "currency": done.currency}
    return Result(said, difference(done.before, done.after), details)


def _word(after: Policy, currency: str) -> str:
    if after.grace_nano:
        limit = f"may owe {exact_from_nano(after.grace_nano)} {currency} of arrears"
    else:
        limit = "is to stop when its credits are gone"
    if after.low_nano is None:
        return f"{limit}; nobody is warned before"
    return f"{limit}; below {exact_from_nano(after.low_nano)} {currency} somebody is warned"


def _changed(before: Policy, after: Policy) -> dict[str, list[Any]]:
    pairs: dict[str, list[Any]] = {
        "grace_nano": [before.grace_nano, after.grace_nano],
        "warn_below_nano": [before.low_nano, after.low_nano],
    }
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}
