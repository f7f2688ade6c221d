"""Credits: granted, adjusted, let expire; each told with what it changes of the books."""

from datetime import date
from typing import Any

from core.billing.balances import Balances
from core.billing.credits import Credited, Lot
from core.billing.credits import adjust as adjust_credits
from core.billing.credits import grant as grant_credits
from core.billing.expiry import expire_by_hand
from core.clock import parse_day
from core.commands.arguments import CreditsAdjust, CreditsExpire, CreditsGrant
from core.commands.kinds import Result, Task
from core.errors import InputFault
from core.money import exact_from_nano, nano_from_text


def grant(task: Task[CreditsGrant]) -> Result:
    given = task.arguments
    expires_on = parse_day(given.expires_on) if given.expires_on else None
    done = grant_credits(
        task.connection,
        task.principal,
        account=given.account,
        lot=Lot(nano_from_text(given.amount), expires_on, given.priority),
        currency=given.currency,
        key=given.key,
        why=task.why,
        now=task.now,
    )
    said = f"{done.account} is granted {_lot(done, task.dry_run)}"
    return _result(done, said)


def adjust(task: Task[CreditsAdjust]) -> Result:
    given = task.arguments
    amount_nano = nano_from_text(given.amount)
    if not amount_nano:
        raise InputFault("0 adjusts nothing; say by how much. Nothing was changed.")
    done = adjust_credits(
        task.connection,
        task.principal,
        account=given.account,
        amount_nano=amount_nano,
        currency=given.currency,
        key=given.key,
        why=task.why,
        now=task.now,
    )
    if amount_nano > 0:
        return _result(done, f"{done.account} is given {_lot(done, task.dry_run)}")
    taken = exact_from_nano(-amount_nano)
    return _result(done, f"{taken} {done.currency} of credits are taken from {done.account}")


def expire(task: Task[CreditsExpire]) -> Result:
    given = task.arguments
    done = expire_by_hand(
        task.connection,
        task.principal,
        account=given.account,
        lot=given.lot,
        why=task.why,
        now=task.now,
        key=given.key,
    )
    gone = f"{exact_from_nano(done.expired_nano)} {done.currency}"
    said = f"Lot {done.lot} of {done.account} expires now, and {gone} with it"
    if done.expires_on:
        said += f" (its date was {done.expires_on})"
    said += "; what a correction returns to it will expire as well."
    details = {
        "lot": done.lot,
        "expired_nano": done.expired_nano,
        "currency": done.currency,
        "key": done.key,
        "is_new": done.is_new,
    }
    if not done.is_new:
        held = {"credits_nano": [done.before.credits_nano, done.after.credits_nano]}
        return Result(_repeated(done.key), held, details)
    return Result(said, difference(done.before, done.after), details)


def _repeated(key: str | None) -> str:
    return f"The same was posted under the key {key} before: nothing is posted now."


def difference(before: Balances, after: Balances) -> dict[str, list[Any]]:
    """Return the books that changed."""
    pairs = {
        "credits_nano": [before.credits_nano, after.credits_nano],
        "arrears_nano": [before.arrears_nano, after.arrears_nano],
        "receivable_nano": [before.receivable_nano, after.receivable_nano],
    }
    return {what: pair for what, pair in pairs.items() if pair[0] != pair[1]}


def _lot(done: Credited, dry_run: bool) -> str:
    amount = f"{exact_from_nano(done.amount_nano)} {done.currency} of credits"
    number = "" if dry_run else f" (lot {done.lot})"
    return f"{amount}{number}, {_until(done.expires_on)}"


def _until(expires_on: date | None) -> str:
    if expires_on is None:
        return "which do not expire"
    return f"which pay the days before {expires_on}"


def _result(done: Credited, said: str) -> Result:
    details = {
        "account": done.account,
        "currency": done.currency,
        "amount_nano": done.amount_nano if done.is_new else 0,
        "repaid_nano": done.repaid_nano,
        "lot": done.lot,
        "expires_on": done.expires_on.isoformat() if done.expires_on else None,
        "key": done.key,
        "is_new": done.is_new,
    }
    if not done.is_new:
        said = _repeated(done.key).removesuffix(".")
    elif done.repaid_nano:
        said += f"; {exact_from_nano(done.repaid_nano)} {done.currency} of arrears are repaid"
    # Told even where they are as before: all of it repaid arrears, or nothing was posted.
    held = {"credits_nano": [done.before.credits_nano, done.after.credits_nano]}
    return Result(f"{said}.", {**held, **difference(done.before, done.after)}, details)
