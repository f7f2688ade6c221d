"""The books in plain Python: dictionaries and integers, no SQL, nothing shared with the program.

One rule after the other as the design tells them; slow, small and easy to believe.
"""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

Verdict = Literal["good", "judgement", "structural", "nothing", "away"]
Place = tuple[str, int]
"""A cluster and the number of an hour."""

NEGATIVE, VANISHED = 1, 4
DAY_HOURS = 24
SPECIAL = {"__idle__": "idle", "__unmounted__": "unmounted"}


@dataclass(frozen=True)
class Figures:
    """What one namespace cost, in 10⁻⁵ units as OpenCost prints them."""

    cpu: int
    ram: int
    total: int
    minutes: int = 60


@dataclass(frozen=True)
class Said:
    """One answer: what it holds, and what a strict reader thinks of it."""

    verdict: Verdict
    rows: tuple[tuple[str, Figures], ...] = ()


@dataclass
class Hour:
    state: str = "due"
    stored: dict[str, Figures | None] | None = None
    """By namespace; None for one that vanished."""
    raw: Said | None = None
    pending: Said | None = None


@dataclass
class Period:
    since: int
    until: int | None
    whose: str
    """A user's, or a plan's."""


@dataclass
class Oracle:
    first: int
    hours: dict[Place, Hour] = field(default_factory=dict)
    periods: dict[tuple[str, str], list[Period]] = field(default_factory=dict)
    system: dict[str, set[str]] = field(default_factory=dict)
    plans: dict[str, dict[int, Decimal]] = field(default_factory=dict)
    """Each plan's factors by the hour that they begin with; `default` is one of them."""
    payments: dict[str, list[Period]] = field(default_factory=dict)
    """Which plan each user pays by, where it is not the default one."""

    # ── an answer comes ─────────────────────────────────────────────────────────────────────

    def answered(self, place: Place, said: Said) -> None:
        at = self.hours[place]
        if said.verdict in ("nothing", "away"):
            if at.stored is None and at.pending is None:
                at.state = "failed"
        elif said == at.raw:
            at.state, at.pending = "collected", None
        elif said.verdict != "good":
            at.state = at.state if at.stored is not None else "refused"
            at.pending = said
        elif at.stored is not None and shrinks(at.stored, dict(said.rows)):
            at.state, at.pending = "held", said
        else:
            self._take(at, said, "collected")

    def _take(self, at: Hour, said: Said, state: str) -> None:
        rows: dict[str, Figures | None] = dict(said.rows)
        gone = {name: None for name in at.stored or {} if name not in rows}
        changed = {**gone, **rows} != at.stored
        at.stored, at.state, at.pending = {**gone, **rows}, state, None
        at.raw = said if changed else at.raw

    # ── a person decides ────────────────────────────────────────────────────────────────────

    def decided(self, place: Place, word: str) -> bool:
        """Return whether that may be decided; what may not changes nothing."""
        at = self.hours[place]
        if word == "accept":
            may = at.pending is not None and at.pending.verdict != "structural"
            if may and at.pending is not None:
                self._take(at, at.pending, "settled")
        elif word == "keep":
            may = at.stored is not None and at.pending is not None
            if may:
                at.state, at.pending = "settled", None
        else:
            may = at.stored is None and at.state in ("due", "failed", "refused")
            if may:
                at.state = "gap"
        return may

    # ── whose it is ─────────────────────────────────────────────────────────────────────────

    def owner(self, cluster: str, namespace: str, number: int) -> str | None:
        return at(self.periods.get((cluster, namespace), []), number)

    def mapped(self, cluster: str, namespace: str, user: str, since: int) -> bool:
        if namespace in self.system[cluster]:
            return False
        return self._begun(self.periods.setdefault((cluster, namespace), []), user, since)

    def _begun(self, periods: list[Period], whose: str, since: int) -> bool:
        """Let something be somebody's from an hour on, until what begins later."""
        if at(periods, since) == whose:
            return False
        until = min((each.since for each in periods if each.since > since), default=None)
        self._end(periods, since, later=False)
        periods.append(Period(since, until, whose))
        return True

    def unmapped(self, cluster: str, namespace: str, since: int) -> bool:
        return self._ended(self.periods.get((cluster, namespace), []), since)

    def _ended(self, periods: list[Period], since: int) -> bool:
        """Let it be nobody's from an hour on, for good."""
        if not any(each.until is None or each.until > since for each in periods):
            return False
        self._end(periods, since, later=True)
        return True

    @staticmethod
    def _end(periods: list[Period], since: int, *, later: bool) -> None:
        for period in list(periods):
            if period.until is not None and period.until <= since:
                continue
            if period.since >= since and (later or period.since == since):
                periods.remove(period)
            elif period.since < since:
                period.until = since

    # ── what it is charged as ───────────────────────────────────────────────────────────────

    def plan(self, user: str, number: int) -> tuple[str, Decimal]:
        """Return which plan a user pays by in an hour, and the factor of its version then."""
        plan = at(self.payments.get(user, []), number) or "default"
        since = max(each for each in self.plans[plan] if each <= number)
        return plan, self.plans[plan][since]

    def versioned(self, plan: str, factor: Decimal, since: int) -> bool:
        """All hours of a story have begun: only a plan that nobody is charged by may change."""
        if since in self.plans[plan] or plan in self._charged():
            return False
        begun = [each for each in self.plans[plan] if each < since]
        if begun and self.plans[plan][max(begun)] == factor:
            return False
        self.plans[plan][since] = factor
        return True

    def _charged(self) -> set[str]:
        owned = [
            (self.kind(cluster, name, number)[1], number)
            for cluster, number, name, _ in self._rows()
        ]
        return {self.plan(user, number)[0] for user, number in owned if user}

    def assigned(self, user: str, plan: str, since: int) -> bool:
        if min(self.plans[plan]) > since:
            return False
        return self._begun(self.payments.setdefault(user, []), plan, since)

    def unassigned(self, user: str, since: int) -> bool:
        return self._ended(self.payments.get(user, []), since)

    # ── what must stand in the books ────────────────────────────────────────────────────────

    def kind(self, cluster: str, namespace: str, number: int) -> tuple[str, str | None]:
        if namespace in SPECIAL:
            return SPECIAL[namespace], None
        if namespace in self.system[cluster]:
            return "system", None
        user = self.owner(cluster, namespace, number)
        return ("user", user) if user else ("unmapped", None)

    def allocations(self) -> dict[tuple[str, int, str], tuple[object, ...]]:
        """(cluster, hour, namespace) → kind, user, plan, factor; cpu, ram, rounding, total; minutes,
        flags.
        """
        found: dict[tuple[str, int, str], tuple[object, ...]] = {}
        for (cluster, number), at in self.hours.items():
            for name, row in (at.stored or {}).items():
                money = nano(row)
                negative = row is not None and min(row.cpu, row.ram, row.total) < 0
                flags = VANISHED if row is None else NEGATIVE if negative else 0
                minutes = (row.minutes if row else 0) * 10**6
                key = (cluster, number, name)
                kind, user = self.kind(cluster, name, number)
                plan = self.plan(user, number) if user else (None, None)
                found[key] = (kind, user, *plan, *money, minutes, flags)
        return found

    def usage(self) -> dict[tuple[str, str, int], tuple[int, ...]]:
        """(user, cluster, day) → (cpu, ram, other, total, charge)."""
        found: dict[tuple[str, str, int], tuple[int, ...]] = {}
        for cluster, number, name, row in self._rows():
            _, user = self.kind(cluster, name, number)
            if user:
                cpu, ram, rounding, total = nano(row)
                key = (user, cluster, number // DAY_HOURS)
                sums = found.get(key, (0,) * 5)
                more = (cpu, ram, rounding, total, self.charge(user, number, total))
                found[key] = tuple(a + b for a, b in zip(sums, more, strict=True))
        return found

    def costs(self) -> dict[tuple[int, str, str, str, str], tuple[int, int, int]]:
        """(day, cluster, namespace, kind, user) → (hours, total, charge)."""
        found: dict[tuple[int, str, str, str, str], tuple[int, int, int]] = {}
        for cluster, number, name, row in self._rows():
            kind, user = self.kind(cluster, name, number)
            total = nano(row)[-1]
            key = (number // DAY_HOURS, cluster, name, kind, user or "")
            hours, costs, charge = found.get(key, (0, 0, 0))
            more = self.charge(user, number, total) if user else 0
            found[key] = (hours + 1, costs + total, charge + more)
        return found

    def charge(self, user: str, number: int, total: int) -> int:
        """Return cost × factor, half-even to the nano."""
        _, factor = self.plan(user, number)
        return int((total * factor).quantize(Decimal(1), ROUND_HALF_EVEN))

    def _rows(self) -> list[tuple[str, int, str, Figures | None]]:
        return [
            (cluster, number, name, row)
            for (cluster, number), at in self.hours.items()
            for name, row in (at.stored or {}).items()
        ]


def at(periods: list[Period], number: int) -> str | None:
    """Return whose an hour is."""
    for period in periods:
        if period.since <= number and (period.until is None or number < period.until):
            return period.whose
    return None


def nano(row: Figures | None) -> tuple[int, int, int, int]:
    """Return cpu, ram, rounding and total in nano-units."""
    if row is None:
        return 0, 0, 0, 0
    each = 10_000
    return row.cpu * each, row.ram * each, (row.total - row.cpu - row.ram) * each, row.total * each


def shrinks(stored: dict[str, Figures | None], now: dict[str, Figures]) -> bool:
    """Whether a re-read loses a namespace, or more than a twentieth of the money; idle aside."""
    lost = [name for name, row in stored.items() if row and name not in now and name != "__idle__"]
    before = sum(row.total for name, row in stored.items() if row and name != "__idle__")
    after = sum(row.total for name, row in now.items() if name != "__idle__")
    return bool(lost) or (before - after) * 20 > abs(before)
