"""However often a COPY is ended early: the rows are one transaction's, and no error gets lost."""

from dataclasses import replace

import psycopg
import pytest
from psycopg import generators
from psycopg.abc import Buffer, PQGen
from psycopg.pq.abc import PGconn

from core.metering import sink as module
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Stored
from core.metering.store import store_answers
from core.opencost import stream
from tests.answers import LIMITS, allocation, body_of, raw_of
from tests.core.metering.site import POLICY, Site
from tests.core.metering.test_store import asked, claims_of

NAMES = [f"n-{number:03}" for number in range(300)]
PIECE_BYTES_MAX, UNSENT_BYTES_MAX = 256 * 1024, (1024 + 256) * 1024


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_ROWS", 20)
    monkeypatch.setattr(stream, "BLOCK_ROWS", 40)
    monkeypatch.setattr(stream, "ROW_BYTES", 300)
    monkeypatch.setattr(module, "ROWS_MIN", 10)
    monkeypatch.setattr(module, "ROWS_OF_ONE", 15)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tell of each COPY that ended how many rows it took."""
    taken: list[int] = []
    end = module.Sink._end

    def telling(self: module.Sink) -> None:
        taken.append(self._rows)
        end(self)

    monkeypatch.setattr(module.Sink, "_end", telling)
    return taken


def store(site: Site, ready: list[Asked], attribution: Attribution) -> list[str]:
    came = store_answers(
        site.connection, ready, attribution=attribution, policy=POLICY, now=site.now
    )
    return [each.outcome if isinstance(each, Stored) else each.fault for each in came.values()]


def two_hours(site: Site, attribution: Attribution) -> list[Asked]:
    """Two clusters whose owners are known, so that nothing has to be asked for in mid-stream."""
    for name in ("eu-1", "eu-2"):
        site.cluster(name)
    store(site, [asked(claim, NAMES) for claim in claims_of(site)], attribution)
    site.until(1)
    return [asked(claim, NAMES) for claim in claims_of(site)]


def test_several_copies_are_one_transaction(site: Site, ended: list[int]) -> None:
    attribution = Attribution()
    ready = two_hours(site, attribution)
    ended.clear()
    assert store(site, ready, attribution) == ["stored"] * 2
    assert (len(ended), sum(ended), min(ended) > 0) == (module.COPIES_MAX, 2 * 302, True)
    for name in ("eu-1", "eu-2"):
        assert len(site.rows(1, cluster=name)) == len(NAMES) + 2
    assert site.value("SELECT count(DISTINCT xmin::text) FROM allocations") == 2
    site.must_balance()


def test_what_the_server_refuses_after_an_early_end_is_raised(site: Site) -> None:
    """Somebody else's rows stand where ours should: the first COPY fails, unasked."""
    attribution = Attribution()
    ready = two_hours(site, attribution)
    site.connection.execute(
        "INSERT INTO allocations SELECT (jsonb_populate_record(a, jsonb_build_object("
        "'hour', a.hour + interval '1 hour'))).* FROM allocations a"
    )
    before = site.versions("allocations")
    with pytest.raises(psycopg.errors.UniqueViolation):
        store(site, ready, attribution)
    assert site.versions("allocations") == before
    assert site.states("eu-1") == ["collected", "due"]


def test_what_turns_out_odd_after_an_early_end_rolls_everything_back(
    site: Site, ended: list[int]
) -> None:
    attribution = Attribution()
    first, second = two_hours(site, attribution)
    spoilt = replace(second, limits=replace(LIMITS, cost_max_nano=1))
    ended.clear()
    assert store(site, [first, spoilt], attribution) == ["implausible-cost", "stored"]
    # All were ended when the last answer was judged, but for the last; then the one hour by itself.
    assert (len(ended), min(ended) > 0) == (module.COPIES_MAX - 1 + 1, True)
    assert (len(site.rows(1, "eu-1")), site.states("eu-2")) == (302, ["collected", "due"])
    site.must_balance()


def test_a_copy_that_was_announced_for_nothing_takes_nothing(
    site: Site, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many rows will come is a guess, by the size of the answer."""
    attribution = Attribution()
    ready = two_hours(site, attribution)
    ended.clear()
    monkeypatch.setattr(module, "ROWS_MIN", 10_000)
    assert store(site, ready, attribution) == ["stored"] * 2
    assert ended == [2 * 302, 0, 0]
    site.must_balance()


def test_an_answer_that_is_read_as_a_whole_is_not_held_as_a_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libpq grew by it never gives back: of an answer of 200,000 rows that were 60 MB."""
    unsent, most_unsent, pieces = 0, 0, []
    copy_to = generators.copy_to

    def telling(pgconn: PGconn, buffer: Buffer, flush: bool = True) -> PQGen[None]:
        nonlocal unsent, most_unsent
        pieces.append(len(buffer))
        unsent = len(buffer) + (0 if bytes(buffer[:6]) == b"PGCOPY" else unsent)
        most_unsent = max(most_unsent, unsent)
        unsent = 0 if flush else unsent
        return copy_to(pgconn, buffer, flush=flush)

    monkeypatch.setattr(generators, "copy_to", telling)
    names = [f"n-{number:05}" for number in range(6_000)]
    site.cluster()
    (claim,) = claims_of(site)
    rows = {name: allocation(claim.hour) for name in ("kube-system", *names)}
    odd = allocation(claim.hour, cpuCost=2 * LIMITS.cost_max_nano // 10**9)
    content = body_of({**rows, "__idle__": odd})
    ready = Asked(claim, content, LIMITS, raw_of(content, claim.hour))
    assert store(site, [ready], Attribution()) == ["stored"]
    assert site.value("SELECT count(*) FROM allocations") == 6_002
    assert sum(pieces) > UNSENT_BYTES_MAX
    assert max(pieces) <= PIECE_BYTES_MAX
    assert most_unsent <= UNSENT_BYTES_MAX


@pytest.mark.parametrize("place", ["in the first block", "in the last block"])
def test_a_new_name_is_asked_for_in_mid_stream_and_loses_no_row(site: Site, place: str) -> None:
    attribution = Attribution()
    site.cluster()
    store(site, [asked(claim, NAMES) for claim in claims_of(site)], attribution)
    anna = site.user()
    names = ["a-new", *NAMES] if place == "in the first block" else [*NAMES, "z-new"]
    site.map(names[0], anna, 1)
    site.map(names[-1], anna, 1)
    site.until(1)
    assert store(site, [asked(claim, names) for claim in claims_of(site)], attribution) == [
        "stored"
    ]
    rows = site.rows(1)
    assert rows.keys() == {*names, "kube-system", "__idle__"}
    assert {name for name, row in rows.items() if row.user == anna.id} == {names[0], names[-1]}
    site.must_balance()


def test_names_that_are_gone_at_the_end_are_not_seen_again(site: Site) -> None:
    """Rows that are called as before are whose they were, however the answer goes on."""
    attribution = Attribution()
    site.cluster()
    store(site, [asked(claim, NAMES) for claim in claims_of(site)], attribution)
    for hour in (1, 26):
        site.until(hour)
        ready = [asked(claim, NAMES[:200]) for claim in claims_of(site) if not claim.revision]
        assert set(store(site, ready, attribution)) == {"stored"}
    assert len(site.rows(26)) == 202
    seen = dict(
        site.connection.execute("SELECT name, last_seen - first_seen FROM namespaces").fetchall()
    )
    assert seen["n-199"].days == 1
    assert seen["n-200"].days == 0
    site.must_balance()
