"""An installation in miniature: a real database, the real visit and store, and OpenCosts of ours.

What OpenCost would say stands in `site.said`; the clock stands where a test puts it.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import psycopg
import pytest
from psycopg.rows import dict_row

from core.billing.marks import mark_accounts
from core.billing.posting.post import PostReport, post_due
from core.books.checks import check_books
from core.books.lines import CheckLine
from core.clock import HOUR
from core.clusters.connection import ClusterAccess, Reach
from core.db.connect import connect
from core.errors import ClusterFault
from core.identity.principal import Principal
from core.metering import windows
from core.metering.assignments import PlanChange, assign_plan, unassign_plan
from core.metering.decisions import Decision, Word, ask_again, decide
from core.metering.ownership import OwnershipChange, map_namespace, unmap_namespace
from core.metering.policy import Policy
from core.metering.pricing import VersionAdded, new_version
from core.metering.visits import Tools, visit_cluster
from core.metering.writer import Writer
from core.rates.terms import read_terms
from core.secret import Secret
from tests import factories
from tests.answers import body
from tests.database import Database, Templates

LOOKS_MAX, LOOK_S = 100, 0.05
FIRST = factories.SINCE
"""The first hour that is metered."""
ADMIN = Principal("admin", "auth0|admin")
NOTHING = b'{"code":200,"data":[{}]}'
NAME = "hopsmeter-store test"
POLICY = Policy()
NONE: Mapping[str, str] = {}

Connection = psycopg.Connection[Any]
Said = bytes | Exception
Told = TypeVar("Told")


def hour(number: int) -> datetime:
    return FIRST + number * HOUR


def away(cluster: str = "eu-1", step: str = "connect") -> ClusterFault:
    """What asking a cluster that is gone raises."""
    return ClusterFault(cluster, step, "nobody answers.")


@dataclass(frozen=True)
class Row:
    """One allocation as the database holds it, in words."""

    kind: str
    user: str | None
    total_nano: int
    revision: int = 1
    flags: int = 0


class OurReach(Reach):
    """Answers from `site.said`, by the hour that the question names."""

    def __init__(self, access: ClusterAccess, site: "Site") -> None:
        self.access, self._site = access, site

    def get(self, path: str) -> bytes:
        seconds = int(path.partition("window=")[2].partition(",")[0])
        asked = datetime.fromtimestamp(seconds, UTC)
        self._site.asked.append((self.access.cluster, asked))
        said = self._site.said.get((self.access.cluster, asked), NOTHING)
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        pass


@dataclass
class Site:
    """`collect` does what a daemon's look does, one cluster after the other."""

    database: Database
    connection: Connection
    now: datetime = FIRST + HOUR + timedelta(minutes=15)
    policy: Policy = POLICY
    said: dict[tuple[str, datetime], Said] = field(default_factory=dict)
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _writer: Writer | None = None

    # ── what there is ───────────────────────────────────────────────────────────────────────

    def open(self, name: str = NAME) -> Connection:
        return connect(self.database.url, name=name)

    def cluster(self, name: str = "eu-1", **changes: Any) -> factories.Cluster:
        return factories.add_cluster(self.connection, name, **changes)

    def user(self, name: str = "anna", **changes: Any) -> factories.User:
        return factories.add_user(self.connection, f"{name}@example.test", **changes)

    def say(
        self,
        costs: Mapping[str, float] | list[str] | Said,
        number: int = 0,
        cluster: str = "eu-1",
    ) -> None:
        """Let OpenCost answer for an hour: namespaces with their CPU cost, bytes, or a fault."""
        if not isinstance(costs, bytes | Exception):
            costs = body(costs, hour(number))
        self.said[cluster, hour(number)] = costs

    def until(self, number: int) -> None:
        """Let it be a quarter past the end of an hour."""
        self.now = hour(number) + HOUR + timedelta(minutes=15)

    def day_later(self) -> None:
        self.now += timedelta(days=1)

    # ── what is done ────────────────────────────────────────────────────────────────────────

    @property
    def tools(self) -> Tools:
        if self._writer is None:
            self._writer = Writer(self.open, NAME, self.policy, lambda: self.now)
        return Tools(
            connect=lambda: self.open("hopsmeter-collect"),
            access=lambda _, cluster_id: ClusterAccess(self._name_of(cluster_id), Secret("{}")),
            open_reach=lambda access: OurReach(access, self),
            writer=self._writer,
            policy=self.policy,
            clock=lambda: self.now,
            tell=self._tell,
            stopping=threading.Event(),
        )

    def _name_of(self, cluster_id: int) -> str:
        return str(self.value("SELECT name FROM hopsworks_clusters WHERE id = %s", cluster_id))

    def _tell(self, event: str, **facts: Any) -> None:
        self.told.append((event, facts))

    def open_windows(self) -> int:
        return windows.open_windows(self.connection, self.now, self.policy)

    def collect(self) -> None:
        """Open what is due and visit every cluster that has work."""
        self.open_windows()
        for work in windows.clusters_with_work(self.connection, self.now, 1000):
            visit_cluster(self.tools, work)

    def again(self, number: int | None = None, cluster: str | None = "eu-1") -> int:
        """Have an hour asked for again, by hand."""
        self.open_windows()
        asked = hour(number) if number is not None else None
        with self.connection.transaction():
            return len(
                ask_again(self.connection, ADMIN, cluster, hour=asked, since=None, now=self.now)
            )

    def decide(
        self, word: Word, number: int = 0, cluster: str = "eu-1", why: str = "looked at it"
    ) -> Decision:
        with self.connection.transaction():
            return decide(self.connection, ADMIN, cluster, hour(number), word, why, self.now)

    def map(
        self,
        namespace: str,
        user: factories.User,
        number: int | None = None,
        cluster: str = "eu-1",
    ) -> OwnershipChange:
        with self.connection.transaction():
            return map_namespace(
                self.connection,
                ADMIN,
                cluster=cluster,
                namespace=namespace,
                user=user.id,
                from_hour=None if number is None else hour(number),
                why="asked for",
                now=self.now,
            )

    def unmap(
        self, namespace: str, number: int | None = None, cluster: str = "eu-1"
    ) -> OwnershipChange:
        with self.connection.transaction():
            return unmap_namespace(
                self.connection,
                ADMIN,
                cluster=cluster,
                namespace=namespace,
                from_hour=None if number is None else hour(number),
                why="asked for",
                now=self.now,
            )

    def plan(
        self,
        name: str,
        factor: str | None,
        number: int | None = None,
        *,
        currency: str | None = None,
        factors: Mapping[str, str] = NONE,
        prices: Mapping[str, str] = NONE,
        included: Mapping[str, str] = NONE,
    ) -> VersionAdded:
        """Make a plan, or its next version, from an hour on."""
        terms = read_terms(factor=factor, factors=factors, prices=prices, included=included)
        with self.connection.transaction():
            return new_version(
                self.connection,
                ADMIN,
                plan=name,
                terms=terms,
                currency=currency,
                from_hour=None if number is None else hour(number),
                why="agreed",
                now=self.now,
            )

    def card(
        self,
        name: str,
        prices: Mapping[str, str],
        number: int | None = None,
        *,
        included: Mapping[str, str] = NONE,
        currency: str = "USD",
    ) -> VersionAdded:
        """Make a rate card, or its next version, from an hour on."""
        return self.plan(name, None, number, currency=currency, prices=prices, included=included)

    def assign(self, user: factories.User, plan: str, number: int | None = None) -> PlanChange:
        with self.connection.transaction():
            return assign_plan(
                self.connection,
                ADMIN,
                account=user.id,
                plan=plan,
                from_hour=None if number is None else hour(number),
                why="agreed",
                now=self.now,
            )

    def unassign(self, user: factories.User, number: int | None = None) -> PlanChange:
        with self.connection.transaction():
            return unassign_plan(
                self.connection,
                ADMIN,
                account=user.id,
                from_hour=None if number is None else hour(number),
                why="agreed",
                now=self.now,
            )

    def post(self) -> PostReport:
        """As the daemon's job does."""
        done = post_due(self.connection, self.now)
        mark_accounts(self.connection, self.now)
        return done

    def books(self, **how: Any) -> list[CheckLine]:
        return check_books(self.connection, self.now, **how)

    def must_balance(self) -> None:
        wrong = [(each.number, each.rows) for each in self.books() if not each.ok]
        assert not wrong, wrong

    # ── what is there then ──────────────────────────────────────────────────────────────────

    def value(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(_in_schema(query), parameters).fetchone()
        return row and row[0]

    def all(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_in_schema(query), parameters).fetchall()

    def window(self, number: int = 0, cluster: str = "eu-1") -> dict[str, Any]:
        (found,) = self.all(
            "SELECT w.* FROM collection_windows w JOIN hopsworks_clusters c ON c.id = w.cluster_id"
            " WHERE c.name = %s AND w.hour = %s",
            cluster,
            hour(number),
        )
        return found

    def states(self, cluster: str = "eu-1") -> list[str]:
        rows = self.all(
            "SELECT w.state FROM collection_windows w JOIN hopsworks_clusters c"
            " ON c.id = w.cluster_id WHERE c.name = %s ORDER BY w.hour",
            cluster,
        )
        return [row["state"] for row in rows]

    def rows(self, number: int = 0, cluster: str = "eu-1") -> dict[str, Row]:
        found = self.all(
            "SELECT n.name, k.name AS kind, u.id AS user, a.total_nano, a.revision, a.flags"
            " FROM allocations a JOIN namespaces n ON n.id = a.namespace_id"
            " JOIN hopsworks_clusters c ON c.id = a.cluster_id"
            " JOIN allocation_kinds k ON k.kind = a.kind"
            " LEFT JOIN users u ON u.no = a.user_no"
            " WHERE c.name = %s AND a.hour = %s",
            cluster,
            hour(number),
        )
        return {row.pop("name"): Row(**row) for row in found}

    def total(self, number: int = 0, cluster: str = "eu-1") -> int:
        return sum(row.total_nano for row in self.rows(number, cluster).values())

    def usage(self) -> dict[tuple[str, str, str], int]:
        """usage_daily: what each user is charged, by (user, cluster, day)."""
        found = self.all(
            "SELECT u.id, c.name, d.date::text AS day, d.charge_nano FROM usage_daily d"
            " JOIN users u ON u.no = d.user_no JOIN hopsworks_clusters c ON c.id = d.cluster_id"
        )
        return {(row["id"], row["name"], row["day"]): row["charge_nano"] for row in found}

    def until_somebody_waits(self) -> None:
        """Return as soon as a connection waits for a lock of another one."""
        waiting = (
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        with self.open() as looker:
            for _ in range(LOOKS_MAX):
                if looker.execute(waiting).rowcount:
                    return
                time.sleep(LOOK_S)
        raise AssertionError("nobody waits")

    def versions(self, table: str) -> list[tuple[Any, ...]]:
        """Where and by which transaction each row was written: equal means nothing was."""
        return self.connection.execute(
            f"SELECT tableoid, ctid, xmin FROM hopsmeter.{table} ORDER BY 1, 2"
        ).fetchall()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self.connection.close()


def _in_schema(query: str) -> Any:
    """Queries of tests leave out the schema."""
    return psycopg.sql.SQL("/* test */ ") + psycopg.sql.SQL(query)


@contextlib.contextmanager
def opened(database: Database) -> Iterator[Site]:
    connection = connect(database.url, name="hopsmeter-test")
    connection.execute("SET search_path = hopsmeter")
    made = Site(database, connection)
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True)
class _Kept:
    """What a site knows beside its database."""

    now: datetime
    policy: Policy
    said: Mapping[tuple[str, datetime], Said]
    asked: tuple[tuple[str, datetime], ...]
    told: tuple[tuple[str, dict[str, Any]], ...]


@dataclass(frozen=True)
class Begun:
    """Sites on which a story has been told: once, then its database is copied for each test."""

    templates: Templates

    @contextlib.contextmanager
    def after(self, story: Callable[[Site], Told]) -> Iterator[tuple[Site, Told]]:
        """Lend a site that stands where the story ended, and what it returned: frozen values."""
        with (
            self.templates.lend(_Telling(story)) as (database, (kept, told)),
            opened(database) as site,
        ):
            site.now, site.policy, site.said = kept.now, kept.policy, dict(kept.said)
            site.asked, site.told = list(kept.asked), list(kept.told)
            yield site, told


@dataclass(frozen=True)
class _Telling(Generic[Told]):
    """Equal for the same story, so that it is told once."""

    story: Callable[[Site], Told]

    def __call__(self, database: Database) -> tuple[_Kept, Told]:
        with opened(database) as site:
            told = self.story(site)
            kept = _Kept(
                site.now, site.policy, dict(site.said), tuple(site.asked), tuple(site.told)
            )
            return kept, told


@pytest.fixture(scope="session")
def begun(templates: Templates) -> Begun:
    return Begun(templates)


@pytest.fixture
def site(database: Database) -> Iterator[Site]:
    """An installation with nothing in it yet."""
    with opened(database) as made:
        yield made
