"""Accounts: users who pay, each in one currency."""

import re
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from core.errors import Conflict, InputFault, Unknown
from core.identity.users import User, find_user

Connection = psycopg.Connection[Any]
_CURRENCY: Final = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class Account:
    """A user who pays, for himself or for a team; `currency` None before anything cost him."""

    id: str
    no: int
    email: str
    currency: str | None

    @property
    def label(self) -> str:
        return f"{self.id} ({self.email})"


def find_account(connection: Connection, text: str) -> Account:
    """Find the account with that id or e-mail; a member has none, and a deleted user none any more."""
    user = find_user(connection, text)
    if user.status == "deleted":
        raise Unknown(f"{user.label} is deleted, and pays for nothing. Nothing was changed.")
    return _account_of(user)


def find_books(connection: Connection, text: str) -> Account:
    """Find the account the same way, one whose user is deleted included: it keeps its books.

    For what happened to its money outside, and is to be written down whatever became of the user.
    """
    return _account_of(find_user(connection, text))


def _account_of(user: User) -> Account:
    if user.account_owner_id:
        raise Conflict(
            f"{user.label} is a team member, whose account is {user.account_owner_id}; name that"
            " one. Nothing was changed."
        )
    return Account(user.id, user.no, user.email, user.currency)


def settle_currency(connection: Connection, account_no: int, currency: str, what: str) -> None:
    """See to it that an account has this currency, for good; Conflict where it has another.

    `what` says what is in that currency: "The cluster eu-1 bills".
    """
    row = connection.execute(
        "UPDATE hopsmeter.users SET currency = coalesce(currency, %(currency)s)"
        " WHERE no = %(no)s RETURNING currency, id",
        {"currency": currency, "no": account_no},
    ).fetchone()
    if row is None:
        raise Unknown("There is no such account. Nothing was changed.")
    if row[0] != currency:
        raise Conflict(
            f"{what} in {currency}, and the account {row[1]} is in {row[0]}: an account has one"
            " currency, and they are never mixed. Use another user for it. Nothing was changed."
        )


def require_currency(account: Account, said: str | None) -> str:
    """Return the account's currency, else what was `said`; InputFault where neither is known."""
    if said is not None and not _CURRENCY.fullmatch(said):
        raise InputFault(f"{said[:40]!r} is no currency; write it like EUR. Nothing was changed.")
    if said and account.currency and said != account.currency:
        raise Conflict(
            f"{account.label} is in {account.currency}, not in {said}. Nothing was changed."
        )
    found = account.currency or said
    if found is None:
        raise InputFault(
            f"{account.label} has no currency yet: say which (--currency EUR), or map a namespace"
            " to them first. Nothing was changed."
        )
    return found
