"""The ledger in plain Python: lists and integers, no SQL, nothing shared with the program.

Written from the words of the design. Where they are silent, one reading: lots go by whole UTC days
(one that expires on D pays days before D); a lot past its date waits for late hours of its own days
only; a day that falls below nothing becomes a lot, or less receivable (postpaid); arrears that were
repaid, and then are less, go back to what repaid them: first what an admin moved to receivable, then
the lots, last used first. "Last used" is a stack: what was given back is no use any more. Days of a
closed month are posted on the day that runs, or the first open one where a clock is behind that.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["postpaid", "prepaid", "hybrid"]
Kind = Literal["grant", "purchase", "correction"]
Draws = tuple[tuple[int, int], ...]
"""Lots of the account, numbered as they came, and what they gave (negative) or got."""

GRANT_PRIORITY, PURCHASE_PRIORITY = 50, 100
WAIT_DAYS = 3
NEVER = 10**9


@dataclass
class Lot:
    number: int
    kind: Kind
    amount: int
    left: int
    expires: int | None
    priority: int
    expired: bool = False

    @property
    def rank(self) -> tuple[int, int, int]:
        """Soonest to expire first, then priority, then age."""
        return (NEVER if self.expires is None else self.expires, self.priority, self.number)

    def pays(self, day: int) -> bool:
        return self.expires is None or day < self.expires


@dataclass(frozen=True)
class Entry:
    book: str
    contra: str
    amount: int
    day: int | None
    posted_on: int
    draws: Draws = ()


Uses = list[tuple[Lot, int]]


@dataclass
class Day:
    """What was posted of a day, and who paid it."""

    charged: int = 0
    by: Counter[str] = field(default_factory=Counter)
    uses: Uses = field(default_factory=list)


@dataclass
class Account:
    modes: list[tuple[int, Mode]] = field(default_factory=list)
    """By the day that each begins with."""
    today: int = 0
    opened: int = 0
    """The first day of the first month that is not closed."""
    books: Counter[str] = field(default_factory=Counter)
    lots: list[Lot] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    days: dict[int, Day] = field(default_factory=dict)
    keys: dict[str, tuple[object, ...]] = field(default_factory=dict)
    repayments: Uses = field(default_factory=list)
    moved: int = 0
    """Arrears that an admin moved to receivable, and that are still there."""

    # ── how it pays ─────────────────────────────────────────────────────────────────────────

    def mode(self, day: int) -> Mode:
        return next((mode for since, mode in reversed(self.modes) if since <= day), "postpaid")

    def pays_in(self, mode: Mode, since: int) -> bool:
        """Return whether that is something new; modes that were to begin later are dropped."""
        later = any(begins > since for begins, _ in self.modes)
        if self.mode(since) == mode and not later:
            return False
        self.modes = [each for each in self.modes if each[0] < since] + [(since, mode)]
        return True

    # ── a day is charged ────────────────────────────────────────────────────────────────────

    def charged(self, day: int, amount: int) -> None:
        """Post the difference to what was posted of the day."""
        at = self.days.setdefault(day, Day())
        change, at.charged = amount - at.charged, amount
        if change > 0:
            self._more(at, day, change)
        elif change < 0:
            self._less(at, day, -change)

    def _more(self, at: Day, day: int, amount: int) -> None:
        mode = self.mode(day)
        if mode != "postpaid":
            taken = self._use(amount, [lot for lot in self.lots if lot.pays(day)])
            at.uses += taken
            amount -= total(taken)
            self._charge(at, day, "credits", total(taken), taken)
        self._charge(at, day, "arrears" if mode == "prepaid" else "receivable", amount)

    def _less(self, at: Day, day: int, amount: int) -> None:
        """Undo the day from its end."""
        mode = self.mode(day)
        owed = at.by
        if mode == "postpaid":
            self._charge(at, day, "receivable", -amount)
            return
        receivable = min(amount, max(owed["receivable"], 0))
        arrears = min(amount - receivable, owed["arrears"])
        lots = min(amount - receivable - arrears, total(at.uses))
        beyond = amount - receivable - arrears - lots
        self._charge(at, day, "receivable", -receivable)
        self._charge(at, day, "arrears", -arrears)
        self._undo_repayment(day)
        given = self._give_back(at.uses, lots)
        if beyond:
            self.lots.append(
                Lot(len(self.lots), "correction", beyond, beyond, None, PURCHASE_PRIORITY)
            )
        self._charge(at, day, "credits", -lots - beyond, given)
        self._expire_returned(day)
        self._repay(max(self.today, day), day)

    def _charge(self, at: Day, day: int, book: str, amount: int, uses: Uses | None = None) -> None:
        at.by[book] += amount
        self._enter(book, "revenue", -amount, day, uses)

    def _undo_repayment(self, day: int) -> None:
        excess = self.books["arrears"]
        if excess <= 0:
            return
        moved = min(self.moved, excess)
        self.moved -= moved
        self._enter("arrears", "receivable", -moved, day)
        given = self._give_back(self.repayments, excess - moved)
        assert -total(given) == excess - moved, "arrears that nobody had repaid"
        self._enter("arrears", "credits", moved - excess, day, given)

    def _repay(self, today: int, day: int | None, first: Lot | None = None) -> None:
        owed = -self.books["arrears"]
        taken = self._use(owed, [lot for lot in self.lots if lot.pays(today)], first)
        self.repayments += taken
        self._enter("arrears", "credits", total(taken), day, taken)

    # ── credits come, go and expire ─────────────────────────────────────────────────────────

    def granted(
        self, key: str, kind: Kind, amount: int, expires: int | None, priority: int
    ) -> bool | None:
        """Return whether it is new; None where the key was used for something else."""
        known = self._known(key, (kind, amount, expires))
        if known is not None:
            return False if known else None
        lot = Lot(len(self.lots), kind, amount, amount, expires, priority)
        self.lots.append(lot)
        contra = "purchases" if kind == "purchase" else "promotions"
        self._enter("credits", contra, amount, None)
        self._repay(self.today, None, lot)
        return True

    def taken(self, key: str, contra: str, amount: int, own: int | None) -> bool | None:
        """Take credits back: from its own lot, then in the order of use; a refund owes the rest."""
        known = self._known(key, (contra, amount))
        if known is not None:
            return False if known else None
        if contra == "promotions" and amount > self.books["credits"]:
            del self.keys[key]
            return None
        taken = self._use(amount, self.lots, None if own is None else self.lots[own])
        self._enter("credits", contra, -total(taken), None, taken)
        self._enter("arrears", contra, total(taken) - amount, None)
        return True

    def _known(self, key: str, what: tuple[object, ...]) -> bool | None:
        """Whether it was used for this (True) or something else (False); None where it is new."""
        if key in self.keys:
            return self.keys[key] == what
        self.keys[key] = what
        return None

    def move_to_receivable(self, amount: int) -> None:
        """Let what it owes as arrears be billed."""
        self.moved += amount
        self._enter("arrears", "receivable", amount, None)

    def expire(self, settled: set[int]) -> None:
        """`settled`: dates before which every hour is in, or never will be."""
        for lot in sorted(self.lots, key=lambda lot: (lot.rank[0], lot.number)):
            if lot.expired or lot.expires is None or lot.expires > self.today:
                continue
            if lot.expires in settled or self.today >= lot.expires + WAIT_DAYS:
                lot.expired = True
                self._empty([lot], None)

    def _expire_returned(self, day: int) -> None:
        self._empty([lot for lot in self.lots if lot.expired and lot.left], day)

    def _empty(self, lots: list[Lot], day: int | None) -> None:
        taken = self._use(sum(lot.left for lot in lots), lots)
        self._enter("credits", "expired", -total(taken), day, taken)

    # ── what all of it is made of ───────────────────────────────────────────────────────────

    @staticmethod
    def _use(amount: int, lots: list[Lot], first: Lot | None = None) -> Uses:
        taken: Uses = []
        for lot in sorted(lots, key=lambda lot: (lot is not first, lot.rank)):
            part = max(min(amount, lot.left), 0)
            if part:
                lot.left -= part
                amount -= part
                taken.append((lot, part))
        return taken

    @staticmethod
    def _give_back(uses: Uses, amount: int) -> Uses:
        """Take uses off the end of their stack; return them with a negative amount."""
        given: Uses = []
        while amount and uses:
            lot, used = uses.pop()
            part = min(amount, used)
            if part < used:
                uses.append((lot, used - part))
            lot.left += part
            amount -= part
            given.append((lot, -part))
        return given

    def _enter(
        self, book: str, contra: str, amount: int, day: int | None, uses: Uses | None = None
    ) -> None:
        if not amount:
            return
        sums: Counter[int] = Counter()
        for lot, part in uses or ():
            sums[lot.number] -= part
        draws = tuple(sorted(sums.items()))
        posted_on = max(self.today, self.opened) if day is None or day < self.opened else day
        self.entries.append(Entry(book, contra, amount, day, posted_on, draws))
        self.books[book] += amount
        if contra in BOOKS:
            self.books[contra] -= amount


BOOKS = ("credits", "receivable", "arrears")


def total(uses: Uses) -> int:
    return sum(part for _, part in uses)


def replay(entries: list[Entry]) -> dict[str, int]:
    """Balances of an account, from nothing but what its entries say."""
    books: Counter[str] = Counter()
    for entry in entries:
        books[entry.book] += entry.amount
        books[entry.contra] -= entry.amount
    return {book: books[book] for book in BOOKS}
