"""What tests of the ledger do to an installation: pay, grant, and look at the books."""

from datetime import date, timedelta

from core.billing.credits import Credited, Lot, adjust, grant, purchase, refund
from core.billing.expiry import Expired, expire_due
from core.billing.modes import ModeChange, set_mode
from core.clock import day_of
from core.money import NANO
from tests import factories
from tests.core.metering.site import ADMIN, FIRST, Site, hour

DAY_0 = day_of(FIRST)


def day(number: int) -> date:
    return DAY_0 + timedelta(days=number)


def units(amount: float) -> int:
    """Amounts of tests have few decimals."""
    return round(amount * NANO)


def pays(site: Site, account: factories.User, mode: str, since: int) -> ModeChange:
    """Let an account pay in a mode from a day on, as if it had been told the day before."""
    with site.connection.transaction():
        return set_mode(
            site.connection,
            ADMIN,
            account=account.id,
            mode=mode,
            since=day(since),
            why="agreed",
            now=FIRST + timedelta(days=since - 1),
        )


def granted(
    site: Site,
    account: factories.User,
    amount: float,
    *,
    expires: int | None = None,
    key: str | None = None,
    bought: bool = False,
    priority: int | None = None,
) -> Credited:
    number = site.value("SELECT count(*) FROM ledger_entries")
    lot = Lot(units(amount), None if expires is None else day(expires), priority)
    post = purchase if bought else grant
    with site.connection.transaction():
        return post(
            site.connection,
            ADMIN,
            account=account.id,
            lot=lot,
            currency="USD",
            key=key or f"test {number}",
            why="agreed",
            now=site.now,
        )


def adjusted(site: Site, account: factories.User, amount: float, key: str) -> Credited:
    with site.connection.transaction():
        return adjust(
            site.connection,
            ADMIN,
            account=account.id,
            amount_nano=units(amount),
            currency="USD",
            key=key,
            why="a slip",
            now=site.now,
        )


def refunded(
    site: Site, account: factories.User, amount: float, key: str, lot: int | None = None
) -> Credited:
    with site.connection.transaction():
        return refund(
            site.connection,
            ADMIN,
            account=account.id,
            amount_nano=units(amount),
            lot=lot,
            key=key,
            why="asked for",
            now=site.now,
        )


BESIDE_CPU = 0.01833
"""What an answer of tests adds to the CPU cost of each namespace."""


def bill(site: Site, costs: dict[str, float], number: int) -> None:
    """Let an hour be answered with these totals, collected and posted."""
    site.say({name: round(cost - BESIDE_CPU, 5) for name, cost in costs.items()}, number)
    site.now = max(site.now, hour(number) + timedelta(minutes=75))
    site.collect()
    site.again(number)
    site.collect()
    site.post()


def expire(site: Site) -> Expired:
    return expire_due(site.connection, site.now)


def books(site: Site, account: factories.User) -> dict[str, float]:
    """What is in the books of an account, in units; what is nothing is left out."""
    rows = site.all(
        "SELECT c.name, b.balance_nano FROM ledger_balances b"
        " JOIN ledger_codes c ON c.code = b.book WHERE b.account_no = %s AND b.balance_nano <> 0",
        account.no,
    )
    return {row["name"]: row["balance_nano"] / NANO for row in rows}


def lots(site: Site, account: factories.User) -> list[float]:
    """What is left in each lot of an account, in units, in the order in which they came."""
    rows = site.all(
        "SELECT remaining_nano FROM credit_lots WHERE account_no = %s ORDER BY id", account.no
    )
    return [row["remaining_nano"] / NANO for row in rows]
