"""What a statement says, as figures: frozen as they are when the month is closed.

Everything goes by posting date: an entry stands in the statement of the month that it was posted on,
so statements add up to the ledger whatever is corrected later.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import msgspec

from core.books.completeness import ClusterHours

FORM: Final = 3
"""Of the frozen figures; a later one reads the earlier ones too. 2: with what was restated. 3: with what
was told to Stripe."""


@dataclass(frozen=True)
class Books:
    """What is in the three books of an account: owed is negative."""

    credits_nano: int = 0
    receivable_nano: int = 0
    arrears_nano: int = 0


@dataclass(frozen=True)
class LotPart:
    """What one lot paid (negative where it got something back)."""

    lot: int
    amount_nano: int


@dataclass(frozen=True)
class ChargeLine:
    """What one namespace was charged for a day, or a month, under one version of a plan."""

    cluster: str
    namespace: str
    project: str
    user: str
    hours: int
    plan: str
    cost_nano: int
    charge_nano: int


@dataclass(frozen=True)
class ChargeDay:
    """A day's charge, what it was paid from, and what it is made of."""

    day: date
    charge_nano: int
    paid: Books
    lots: tuple[LotPart, ...]
    lines: tuple[ChargeLine, ...]


@dataclass(frozen=True)
class LotMonth:
    """A lot of credits over the month: what it began with, what came and went, what is left."""

    lot: int
    kind: str
    reference: str
    expires_on: date | None
    opening_nano: int
    came_nano: int
    charged_nano: int
    repaid_nano: int
    taken_back_nano: int
    refunded_nano: int
    expired_nano: int
    closing_nano: int


@dataclass(frozen=True)
class Movement:
    """An entry that is no charge, nor told to Stripe: credits that came or went, arrears repaid."""

    entry: int
    posted_on: date
    what: str
    moved: Books
    reference: str
    lots: tuple[LotPart, ...]


@dataclass(frozen=True)
class Told:
    """What of the receivable was told to Stripe in the month, or settled outside of it.

    Summed, by posting date: a daily meter is told of each day many times.
    """

    reported_nano: int = 0
    reports: int = 0
    settled_nano: int = 0
    settlements: int = 0

    @property
    def moved(self) -> Books:
        return Books(receivable_nano=self.reported_nano + self.settled_nano)


@dataclass(frozen=True)
class CorrectedHour:
    """An hour of a corrected day: what was charged for it, and what is since.

    Amounts are None under a plan that includes something: what is free of an hour moves with all
    others of its month, and only the sum over them is in the ledger.
    """

    cluster: str
    namespace: str
    hour: datetime
    before_nano: int | None
    after_nano: int | None
    why: str

    @property
    def moved_nano(self) -> int | None:
        if self.before_nano is None or self.after_nano is None:
            return None
        return self.after_nano - self.before_nano


@dataclass(frozen=True)
class Correction:
    """A posting of this month to a day of another one."""

    day: date
    posting_no: int
    posted_on: date
    charge_nano: int
    paid: Books
    lots: tuple[LotPart, ...]
    hours: tuple[CorrectedHour, ...]


@dataclass(frozen=True)
class RestatedDay:
    """What postings after its first changed of a day's charge on one cluster, for one reason.

    `moved_nano` is None under a plan that includes something, as of a CorrectedHour.
    """

    day: date
    cluster: str
    what: str
    """restated, came (to the account), went (from it), owner, plan, or other."""
    namespaces: tuple[str, ...]
    namespaces_more: int
    """How many there are beside those that are named."""
    hours: tuple[int, ...]
    """Of the day: 0 is the one from 00:00 UTC on."""
    moved_nano: int | None


@dataclass(frozen=True)
class Restated:
    """The first rows of what was changed within the month, and what the others come to."""

    days: tuple[RestatedDay, ...] = ()
    more: int = 0
    more_nano: int = 0
    """Of those that are not listed, and whose amounts are known."""

    @property
    def moved_nano(self) -> int:
        return self.more_nano + sum(each.moved_nano or 0 for each in self.days)


@dataclass(frozen=True)
class Statement:
    """One account's month; money in nano-units of `currency`."""

    form: int
    account: str
    email: str
    name: str
    month: str
    currency: str
    opening: Books
    closing: Books
    days: tuple[ChargeDay, ...]
    namespaces: tuple[ChargeLine, ...]
    """The lines of all days together, dearest first."""
    lots: tuple[LotMonth, ...]
    movements: tuple[Movement, ...]
    corrections: tuple[Correction, ...]
    clusters: tuple[ClusterHours, ...]
    pending_nano: int
    """Stored and not posted yet: in the lines, and not in the ledger; nothing in a closed month."""
    entries: int
    entries_sha256: str
    """Of the entries posted on days of this month, as the ledger has them."""
    restated: Restated = Restated()
    """In the charges of the days already; nothing in figures of form 1, which did not say."""
    told: Told = Told()
    """Nothing in figures of forms 1 and 2, which are of a time before Stripe was told."""

    @property
    def charge_nano(self) -> int:
        return sum(each.charge_nano for each in self.days)

    @property
    def correction_nano(self) -> int:
        return sum(each.charge_nano for each in self.corrections)


@dataclass(frozen=True)
class Presented:
    """A statement and how it stands: `sha256` is that of the frozen figures, None while provisional."""

    statement: Statement
    sha256: str | None
    closed_at: datetime | None


def plain(statement: Statement) -> dict[str, Any]:
    """Return the figures as JSON holds them."""
    built: dict[str, Any] = msgspec.to_builtins(statement)
    return built


def read(body: Any) -> Statement:
    """Read frozen figures."""
    return msgspec.convert(body, Statement)


def sha256_of(body: Any) -> bytes:
    """Return the hash of figures: of their JSON with sorted names and no blanks, as UTF-8."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
