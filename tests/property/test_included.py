"""Random use of two clusters by two accounts over a turn of months: what is free is what Python says.

Hours come in any order and are restated; namespaces change hands, plans change, and postings happen
in between. In the end each account is charged by its use alone.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, Unknown
from tests import factories
from tests.answers import allocation, body_of
from tests.core.metering.site import Begun, Site, hour
from tests.property.test_books import slow

MICRO = 10**6
APRIL = 24 * 31
HOURS = (APRIL - 26, APRIL - 25, APRIL - 24, APRIL - 3, APRIL - 1, APRIL, APRIL + 1, APRIL + 25)
"""Of two days of March, and two of April."""
CLUSTERS, NAMESPACES, USERS = ("eu-2", "eu-1"), "ab", ("anna", "ben")
CARDS = {"wide": 5 * MICRO, "tight": MICRO, "bare": 0}
"""Rate cards, and the core-hours that each includes; a core-hour costs 1."""
COST = 65_760_000
"""Of a namespace's hour, by the default plan."""
Step = tuple[Any, ...]
Place = tuple[int, str, str]


@dataclass
class Use:
    """The same in plain Python: who used how much, and under which plan."""

    used: dict[Place, int] = field(default_factory=dict)
    owners: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    """By cluster and namespace: from which hour on it is whose."""
    plans: dict[str, dict[int, str]] = field(default_factory=dict)

    def charges(self) -> dict[tuple[str, str, int], int]:
        """(user, cluster, day) → nano-units, each place after the other."""
        found: dict[tuple[str, str, int], int] = {}
        totals: dict[tuple[str, str, bool], int] = {}
        for place in sorted(self.used):
            number, cluster, namespace = place
            owner = at(self.owners.get((cluster, namespace), {}), number)
            if owner is None:
                continue
            plan = at(self.plans.get(owner, {}), number)
            charge = COST
            if plan is not None:
                key = (owner, plan, number < APRIL)
                before = totals.get(key, 0)
                totals[key] = before + self.used[place]
                spared = min(totals[key], CARDS[plan]) - min(before, CARDS[plan])
                charge = (self.used[place] - spared) * 1000
            day = (owner, cluster, number // 24)
            found[day] = found.get(day, 0) + charge
        return found


def at(since: dict[int, str], number: int) -> str | None:
    begun = [each for each in since if each <= number]
    return since[max(begun)] or None if begun else None


@pytest.fixture(scope="module")
def fresh(begun: Begun) -> Callable[[], Any]:
    @contextlib.contextmanager
    def make() -> Iterator["Both"]:
        with begun.after(nothing_asked) as (site, users):
            yield Both(site, Use(), dict(users))

    return make


def nothing_asked(site: Site) -> dict[str, factories.User]:
    """Clusters, users and cards, and hours that nobody asked for."""
    for cluster in CLUSTERS:
        site.cluster(cluster, metering_since=hour(HOURS[0]))
    users = {name: site.user(name) for name in USERS}
    for card, included in CARDS.items():
        free = {"cpu": str(included // MICRO)} if included else {}
        site.card(card, {"cpu": "1"}, included=free)
    site.until(HOURS[-1])
    site.open_windows()
    site.connection.execute(
        "UPDATE collection_windows SET next_try_at = NULL, state = 'waived', why = 'test'"
        " WHERE hour <> ALL (%s)",
        [[hour(number) for number in HOURS]],
    )
    site.connection.execute("UPDATE collection_windows SET next_try_at = NULL")
    return users


@dataclass
class Both:
    """The program and plain Python, side by side."""

    site: Site
    use: Use
    users: dict[str, factories.User]

    def take(self, step: Step) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])

    def _answer(self, number: int, cluster: str, cores: tuple[int, int]) -> None:
        """Both namespaces always, so that none shrinks away."""
        rows = {"kube-system": allocation(hour(number))}
        for namespace, halves in zip(NAMESPACES, cores, strict=True):
            self.use.used[number, cluster, namespace] = halves * MICRO // 2
            rows[namespace] = allocation(hour(number), cpuCoreHours=halves / 2)
        self.site.say(body_of(rows), number, cluster)
        self.site.again(number, cluster)
        self.site.collect()
        self.site.connection.execute("UPDATE collection_windows SET next_try_at = NULL")

    def _map(self, cluster: str, namespace: str, user: str, since: int) -> None:
        self._changed(
            self.use.owners.setdefault((cluster, namespace), {}),
            since,
            user,
            lambda: self.site.map(namespace, self.users[user], since, cluster),
        )

    def _assign(self, user: str, plan: str, since: int) -> None:
        self._changed(
            self.use.plans.setdefault(user, {}),
            since,
            plan,
            lambda: self.site.assign(self.users[user], plan, since),
        )

    def _unassign(self, user: str, since: int) -> None:
        plans = self.use.plans.setdefault(user, {})
        with contextlib.suppress(Conflict, Unknown):
            self.site.unassign(self.users[user], since)
            for each in [each for each in plans if each >= since]:
                del plans[each]
            plans[since] = ""

    def _changed(
        self, periods: dict[int, str], since: int, whose: str, change: Callable[[], Any]
    ) -> None:
        """Both refuse what holds already; what begins later stays, also where nobody has it."""
        if at(periods, since) == whose:
            with pytest.raises(Conflict):
                change()
            return
        change()
        # It goes on until another one begins, over whatever time is nobody's.
        until = min((each for each in periods if each > since and periods[each]), default=None)
        for each in [each for each in periods if each > since and each != until]:
            if until is None or each < until:
                del periods[each]
        periods[since] = whose

    def _post(self) -> None:
        self.site.post()

    def must_agree(self) -> None:
        self.site.post()
        rows = self.site.all(
            "SELECT u.email, c.name, d.date, d.charge_nano FROM usage_daily d"
            " JOIN users u ON u.no = d.user_no JOIN hopsworks_clusters c ON c.id = d.cluster_id"
        )
        found = {
            (
                row["email"].partition("@")[0],
                row["name"],
                (row["date"] - hour(0).date()).days,
            ): row["charge_nano"]
            for row in rows
        }
        assert found == self.use.charges()
        self.site.must_balance()


numbers, clusters = st.sampled_from(HOURS), st.sampled_from(CLUSTERS)
firsts = st.sampled_from([0, APRIL])
steps = st.one_of(
    *[st.tuples(st.just("answer"), numbers, clusters, st.tuples(*[st.integers(0, 9)] * 2))] * 4,
    st.tuples(
        st.just("map"), clusters, st.sampled_from(NAMESPACES), st.sampled_from(USERS), numbers
    ),
    st.tuples(
        st.just("assign"), st.sampled_from(USERS), st.sampled_from(["wide", "tight"]), firsts
    ),
    st.tuples(st.just("assign"), st.sampled_from(USERS), st.just("bare"), numbers),
    st.tuples(st.just("unassign"), st.sampled_from(USERS), numbers),
    *[st.tuples(st.just("post"))] * 2,
)


@slow(6)
@given(st.lists(steps, min_size=8, max_size=24))
def test_what_is_charged_depends_on_use_alone(
    fresh: Callable[[], Any], happened: list[Step]
) -> None:
    with fresh() as both:
        both.take(("map", "eu-1", "a", "anna", 0))
        both.take(("map", "eu-2", "b", "anna", 0))
        both.take(("assign", "anna", "wide", 0))
        for step in happened:
            both.take(step)
        both.must_agree()


@slow(10)
@given(
    st.dictionaries(
        st.tuples(numbers, clusters), st.tuples(*[st.integers(0, 9)] * 2), min_size=4
    ).flatmap(lambda said: st.tuples(st.just(said), *[st.permutations([*said])] * 2))
)
def test_hours_in_any_order_give_the_same_charges(fresh: Callable[[], Any], drawn: Any) -> None:
    said, *orders = drawn
    found = []
    for order in orders:
        with fresh() as both:
            for cluster in CLUSTERS:
                both.take(("map", cluster, "a", "anna", 0))
            both.take(("assign", "anna", "wide", 0))
            for turn, place in enumerate(order):
                both.take(("answer", *place, said[place]))
                if turn % 2:
                    both.take(("post",))
            both.must_agree()
            found.append(both.use.charges())
    assert found[0] == found[1]
