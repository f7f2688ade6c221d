"""Random hours, restatements, decisions, owners, postings: the books are what plain Python says."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from core.errors import Conflict, Unknown
from core.metering.ownership import reattribute_cluster
from tests import factories
from tests.answers import allocation, body_of
from tests.core.metering.site import ADMIN, NOTHING, Begun, Site, away, hour
from tests.property.oracle import Figures, Hour, Oracle, Place, Said, Verdict

HOUR_MINUTES = 60
FIRST, LAST = 23, 25
"""The hours around a midnight: one of a day that is over, two of the day that is open."""
CLUSTERS, USERS, NAMESPACES = ("eu-1", "eu-2"), ("anna", "ben"), ("a", "b", "c")
PLANS = {
    "default": {0: "1"},
    "free": {0: "0"},
    "odd": {0: "1.000001", FIRST + 1: "0.333333"},
    "late": {FIRST + 1: "1.234567"},
}
"""Their factors by the hour that they begin with: one changes with the day, one begins then."""
STEPS_MIN, STEPS_MAX = 8, 24
_OF_PROFILE = settings().max_examples
"""A scenario takes as long as a hundred examples elsewhere; `--hypothesis-profile=deep` has more."""


def slow(share: int) -> settings:
    """Run a share of the profile's examples; shrinking one that fails would take minutes."""
    return settings(
        max_examples=_OF_PROFILE // share,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=[Phase.explicit, Phase.generate],
    )


Step = tuple[Any, ...]


@pytest.fixture(scope="module")
def fresh(begun: Begun) -> Callable[[], Any]:
    """A site of its own for each example, with clusters, users and hours that nobody asked for."""

    @contextlib.contextmanager
    def make() -> Iterator[Site]:
        with begun.after(nothing_asked) as (site, _):
            yield site

    return make


def nothing_asked(site: Site) -> None:
    for name in CLUSTERS:
        site.cluster(name, metering_since=hour(FIRST))
    for name in USERS:
        site.user(name)
    for plan, versions in PLANS.items():
        for number, factor in versions.items():
            if plan != "default":
                site.plan(plan, factor, number)
    site.until(LAST)
    site.open_windows()
    site.connection.execute("UPDATE collection_windows SET next_try_at = NULL")


# ── what can happen ─────────────────────────────────────────────────────────────────────────

parts = st.sampled_from([0, 1, 100_000, 99_000, 3, -5, 250_001]) | st.integers(-100, 10**6)
figures = st.builds(
    lambda cpu, ram, off: Figures(cpu, ram, cpu + ram + off), parts, parts, st.integers(-1, 1)
)
names = st.sampled_from([*NAMESPACES, "__idle__", "__unmounted__"])


@st.composite
def answers(draw: st.DrawFn) -> Said:
    verdict: Verdict = draw(
        st.sampled_from(["good"] * 6 + ["judgement", "structural", "nothing", "away"])
    )
    if verdict in ("nothing", "away"):
        return Said(verdict)
    rows = draw(st.dictionaries(names, figures, max_size=4))
    if verdict != "good":
        rows["a"] = Figures(100, 0, 100, 61 if verdict == "judgement" else 60)
    return Said(verdict, (("kube-system", Figures(100, 100, 200)), *sorted(rows.items())))


clusters = st.sampled_from([CLUSTERS[0], CLUSTERS[0], CLUSTERS[1]])
places = st.tuples(clusters, st.integers(FIRST, LAST))
owned = st.sampled_from(["a", "a", "b", "c"])
restated = st.sampled_from(["a", "a", "b", "c", "__idle__"])
hours = st.integers(FIRST - 1, LAST + 1)
users = st.sampled_from(USERS)
assigned = st.sampled_from(["odd", "odd", "late", "free", "default"])
versioned = st.sampled_from(["0", "1.000001", "2.5", "0.000003"])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """One thing that happens; what touches the same facts twice is drawn more often."""
    what = draw(st.sampled_from(HAPPENS))
    if what == "answer":
        return what, draw(places), draw(answers())
    if what == "restate":
        return what, draw(places), draw(restated), draw(st.sampled_from(RESTATED))
    if what == "same":
        return what, draw(places), draw(st.booleans())
    if what == "decide":
        return what, draw(places), draw(st.sampled_from(["accept", "accept", "keep", "gap"]))
    if what == "map":
        return what, draw(clusters), draw(owned), draw(users), draw(hours)
    if what == "unmap":
        return what, draw(clusters), draw(owned), draw(hours)
    if what == "assign":
        return what, draw(users), draw(assigned), draw(hours)
    if what == "unassign":
        return what, draw(users), draw(hours)
    if what == "version":
        return what, draw(st.sampled_from([*PLANS])), draw(versioned), draw(hours)
    if what == "system":
        return what, draw(clusters), draw(st.sets(owned, max_size=1))
    return (what,)


HAPPENS = [
    *["answer"] * 2,
    *["restate"] * 6,
    *["same"] * 2,
    *["decide"] * 4,
    *["map"] * 4,
    "unmap",
    *["assign"] * 4,
    "unassign",
    "version",
    "system",
    *["post"] * 3,
]
RESTATED = ["gone", 0.5, 0.94, 0.96, 1.25, 1.25]
scenarios = st.lists(steps(), min_size=STEPS_MIN, max_size=STEPS_MAX)


def written(said: Said, number: int) -> bytes | Exception:
    """What OpenCost sends for it."""
    if said.verdict == "nothing":
        return NOTHING
    if said.verdict == "away":
        return away(step="opencost")
    rows = {name: _row(row, number) for name, row in said.rows}
    if said.verdict == "structural":
        rows["a"]["ramCost"] = None
    return body_of(rows)


def _row(row: Figures, number: int) -> dict[str, Any]:
    def unit(k: int) -> float:
        return float(Decimal(k).scaleb(-5))

    costs: dict[str, Any] = {"cpuCost": unit(row.cpu), "ramCost": unit(row.ram), "pvCost": 0}
    total = unit(row.total)
    return allocation(hour(number), **costs, totalCost=total, minutes=row.minutes)


@dataclass
class Both:
    """The program and plain Python, side by side."""

    site: Site
    oracle: Oracle
    said: dict[Place, Said]
    users: dict[str, factories.User]

    def take(self, step: Step) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])

    def _answer(self, place: Place, said: Said) -> None:
        cluster, number = place
        self.said[place] = said
        self.site.say(written(said, number), number, cluster)
        self.site.again(number, cluster)
        self.site.collect()
        self.oracle.answered(place, said)
        # Whoever failed is asked again by a later step, not by the clock.
        self.site.connection.execute(
            "UPDATE collection_windows SET next_try_at = NULL;"
            "UPDATE hopsworks_clusters SET next_visit_at = NULL"
        )

    def _restate(self, place: Place, namespace: str, by: float | str) -> None:
        """Let OpenCost say the same of an hour, but for one namespace."""
        raw = self.oracle.hours[place].raw
        assert raw is not None
        rows = dict(raw.rows)
        old = rows.pop(namespace, Figures(100_000, 100_000, 200_000))
        if not isinstance(by, str):
            cpu = round(old.cpu * by)
            rows[namespace] = Figures(cpu, old.ram, old.total - old.cpu + cpu)
        # What a person accepted once is judged again when it is said again with a change.
        odd = any(figures.minutes > HOUR_MINUTES for figures in rows.values())
        self._answer(place, Said("judgement" if odd else "good", tuple(rows.items())))

    def _same(self, place: Place, stored: bool = False) -> None:
        """Let OpenCost say again what it said last, or what the books hold."""
        raw = self.oracle.hours[place].raw
        self._answer(place, raw if stored and raw else self.said[place])

    def _decide(self, place: Place, word: str) -> None:
        with self._expecting(self.oracle.decided(place, word)):
            self.site.decide(word, place[1], place[0])  # type: ignore[arg-type]  # one of the words

    def _map(self, cluster: str, namespace: str, user: str, since: int) -> None:
        with self._expecting(self.oracle.mapped(cluster, namespace, user, since)):
            self.site.map(namespace, self.users[user], since, cluster)

    def _unmap(self, cluster: str, namespace: str, since: int) -> None:
        with self._expecting(self.oracle.unmapped(cluster, namespace, since)):
            self.site.unmap(namespace, since, cluster)

    def _assign(self, user: str, plan: str, since: int) -> None:
        with self._expecting(self.oracle.assigned(user, plan, since)):
            self.site.assign(self.users[user], plan, since)

    def _unassign(self, user: str, since: int) -> None:
        with self._expecting(self.oracle.unassigned(user, since)):
            self.site.unassign(self.users[user], since)

    def _version(self, plan: str, factor: str, since: int) -> None:
        with self._expecting(self.oracle.versioned(plan, Decimal(factor), since)):
            self.site.plan(plan, factor, since)

    def _system(self, cluster: str, namespaces: set[str]) -> None:
        self.oracle.system[cluster] = {"kube-system", *namespaces}
        connection = self.site.connection
        with connection.transaction():
            row = connection.execute(
                "UPDATE hopsworks_clusters SET system_namespaces = %s WHERE name = %s RETURNING id",
                [["kube-system", *sorted(namespaces)], cluster],
            ).fetchone()
            assert row is not None
            reattribute_cluster(connection, ADMIN, row[0], why="test")

    def _post(self) -> None:
        self.site.post()

    @contextlib.contextmanager
    def _expecting(self, allowed: bool) -> Iterator[None]:
        if allowed:
            yield
        else:
            with pytest.raises((Conflict, Unknown)):
                yield

    # ── side by side ────────────────────────────────────────────────────────────────────────

    def must_agree(self) -> None:
        self.site.post()
        assert self._allocations() == self.oracle.allocations()
        expected = {
            at: (each.state, each.pending is None) for at, each in self.oracle.hours.items()
        }
        assert self._states() == expected
        assert self._usage() == self.oracle.usage()
        assert self._costs() == self.oracle.costs()
        self.site.must_balance()

    def _allocations(self) -> dict[tuple[str, int, str], tuple[object, ...]]:
        rows = self.site.all(
            "SELECT c.name AS cluster, a.hour, n.name, k.name AS kind, u.email,"
            " p.name AS plan, v.factor, a.cpu_nano, a.ram_nano, a.rounding_nano, a.total_nano, a.minutes_micro, a.flags"
            " FROM allocations a JOIN namespaces n ON n.id = a.namespace_id"
            " JOIN hopsworks_clusters c ON c.id = a.cluster_id"
            " JOIN allocation_kinds k ON k.kind = a.kind LEFT JOIN users u ON u.no = a.user_no"
            " LEFT JOIN rate_plan_versions v ON v.id = a.plan_version_id"
            " LEFT JOIN rate_plans p ON p.id = v.plan_id"
        )
        return {
            (row["cluster"], number_of(row["hour"]), row["name"]): (
                row["kind"],
                row["email"] and row["email"].partition("@")[0],
                row["plan"],
                row["factor"],
                row["cpu_nano"],
                row["ram_nano"],
                row["rounding_nano"],
                row["total_nano"],
                row["minutes_micro"],
                row["flags"],
            )
            for row in rows
        }

    def _states(self) -> dict[Place, tuple[str, bool]]:
        rows = self.site.all(
            "SELECT c.name, w.hour, w.state, w.pending_sha256 IS NULL AS settled FROM collection_windows w"
            " JOIN hopsworks_clusters c ON c.id = w.cluster_id"
        )
        return {
            (row["name"], number_of(row["hour"])): (row["state"], row["settled"]) for row in rows
        }

    def _usage(self) -> dict[tuple[str, str, int], tuple[int, ...]]:
        rows = self.site.all(
            "SELECT u.email, c.name, d.* FROM usage_daily d JOIN users u ON u.no = d.user_no"
            " JOIN hopsworks_clusters c ON c.id = d.cluster_id"
        )
        columns = ("cpu", "ram", "other", "total")
        return {
            (row["email"].partition("@")[0], row["name"], day_of(row["date"])): (
                *(row[f"opencost_{column}_nano"] for column in columns),
                row["charge_nano"],
            )
            for row in rows
        }

    def _costs(self) -> dict[tuple[int, str, str, str, str], tuple[int, int, int]]:
        rows = self.site.all(
            "SELECT d.*, c.name AS cluster, n.name, k.name AS kind_name, u.email FROM cost_by_day d"
            " JOIN namespaces n ON n.id = d.namespace_id"
            " JOIN hopsworks_clusters c ON c.id = d.cluster_id"
            " JOIN allocation_kinds k ON k.kind = d.kind"
            " LEFT JOIN users u ON u.no = nullif(d.user_no, 0)"
        )
        return {
            (
                day_of(row["date"]),
                row["cluster"],
                row["name"],
                row["kind_name"],
                (row["email"] or "").partition("@")[0],
            ): (row["hours"], row["total_nano"], row["charge_nano"])
            for row in rows
        }


def number_of(at: datetime) -> int:
    return int((at - hour(0)).total_seconds()) // 3600


def day_of(date: Any) -> int:
    return int((date - hour(0).date()).days)


def side_by_side(site: Site) -> Both:
    oracle = Oracle(FIRST)
    oracle.plans = {
        plan: {number: Decimal(factor) for number, factor in versions.items()}
        for plan, versions in PLANS.items()
    }
    oracle.system = {cluster: {"kube-system"} for cluster in CLUSTERS}
    numbers = range(FIRST, LAST + 1)
    oracle.hours = {(cluster, number): Hour() for cluster in CLUSTERS for number in numbers}
    rows = site.all("SELECT no, id, email FROM users")
    users = {row["email"].partition("@")[0]: factories.User(**row) for row in rows}
    return Both(site, oracle, {}, users)


def with_a_first_answer(both: Both) -> Both:
    """Let each hour have been answered once, so that whatever happens then meets facts."""
    costs = Figures(100_000, 50_000, 150_000)
    names = (*NAMESPACES, "__idle__")
    rows = (("kube-system", Figures(100, 100, 200)), *((name, costs) for name in names))
    for place in both.oracle.hours:
        both.take(("answer", place, Said("good", rows)))
    return both


# ── the truths ──────────────────────────────────────────────────────────────────────────────


ACCEPTED_THEN_RESTATED: list[Step] = [
    (
        "answer",
        ("eu-1", 24),
        Said(
            "judgement",
            (
                ("kube-system", Figures(100, 100, 200)),
                ("a", Figures(100, 0, 100, 61)),
                ("b", Figures(60_362, 125, 60_487)),
            ),
        ),
    ),
    ("decide", ("eu-1", 24), "accept"),
    ("restate", ("eu-1", 24), "b", 1.25),
]


@slow(4)
@given(scenarios)
@example(ACCEPTED_THEN_RESTATED)
def test_whatever_happens_the_books_are_what_plain_python_says(
    fresh: Callable[[], Any], happened: list[Step]
) -> None:
    with fresh() as site:
        both = with_a_first_answer(side_by_side(site))
        for step in happened:
            both.take(step)
        both.must_agree()


@st.composite
def facts(draw: st.DrawFn) -> tuple[list[Step], list[Step]]:
    """Facts that hold in the end, in two orders."""
    good = answers().filter(lambda said: said.verdict == "good")
    said = draw(st.dictionaries(places, good, min_size=4, max_size=6))
    happened: list[Step] = [("answer", place, each) for place, each in said.items()]
    for cluster, namespace in draw(st.sets(st.tuples(clusters, owned), min_size=1, max_size=4)):
        since, later = draw(st.permutations(range(FIRST - 1, LAST + 2)))[:2]
        happened.append(("map", cluster, namespace, "anna", since))
        happened.append(("map", cluster, namespace, "ben", later))
    since, later = draw(st.permutations(range(FIRST - 1, LAST + 2)))[:2]
    happened += [("assign", "anna", "odd", since), ("assign", "anna", "free", later)]
    happened += [("post",)] * 2 + [("answer", *each) for each in list(said.items())[:2]]
    return list(draw(st.permutations(happened))), list(draw(st.permutations(happened)))


@slow(8)
@given(facts())
def test_the_same_facts_in_another_order_give_the_same_books(
    fresh: Callable[[], Any], orders: tuple[list[Step], list[Step]]
) -> None:
    found = []
    for order in orders:
        with fresh() as site:
            both = side_by_side(site)
            for step in order:
                both.take(step)
            both.must_agree()
            found.append((both._allocations(), both._usage(), both._costs()))
    assert found[0] == found[1]


@slow(8)
@given(scenarios)
def test_doing_everything_again_changes_nothing(
    fresh: Callable[[], Any], happened: list[Step]
) -> None:
    with fresh() as site:
        both = with_a_first_answer(side_by_side(site))
        for step in happened:
            both.take(step)
        both.must_agree()
        plans = ("plan_assignments", "rate_plan_versions")
        days = ("usage_daily", "cost_daily")
        tables = ("allocations", "allocation_history", *days, "user_projects", *plans)
        before = {table: site.versions(table) for table in tables}
        for place, at in both.oracle.hours.items():
            if at.raw is not None and both.said[place] == at.raw:
                both.take(("same", place))
        site.post()
        assert {table: site.versions(table) for table in tables} == before
        both.must_agree()
