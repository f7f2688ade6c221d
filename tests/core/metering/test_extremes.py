"""Figures, clocks and deaths at the edge of sense: the books stay right, and nobody else waits."""

import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from core.billing.posting.post import post_due
from core.clusters.cluster import find_cluster
from core.errors import PostingStuck
from core.metering import visits, windows, writer
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Claim
from core.metering.ownership import reattribute_cluster
from core.metering.store import store_answers
from core.metering.visits import visit_cluster
from core.metering.writer import Writer
from tests.answers import LIMITS, allocation, body, body_of, raw_of
from tests.core.metering.site import ADMIN, NAME, POLICY, Site, hour

WAIT_S = 20.0


def answer(number: int, fields: dict[str, float], name: str = "a") -> bytes:
    rows = {"kube-system": allocation(hour(number)), "a": allocation(hour(number))}
    return body_of(rows | {name: allocation(hour(number), **fields)})


def asked(claim: Claim, names: list[str]) -> Asked:
    content = body(names, claim.hour)
    return Asked(claim, content, LIMITS, raw_of(content, claim.hour))


def claims_of(site: Site) -> list[Claim]:
    site.open_windows()
    backend = (site.connection.info.backend_pid, NAME)
    return [
        claim
        for work in windows.clusters_with_work(site.connection, site.now, 100)
        for claim in windows.claim(
            site.connection,
            work.cluster_id,
            site.now,
            policy=POLICY,
            store_backend=backend,
            limit=100,
        )
    ]


@pytest.mark.parametrize("field", ["pvByteHours", "networkTransferBytes", "networkReceiveBytes"])
def test_bytes_that_no_day_could_add_up_are_refused(site: Site, field: str) -> None:
    site.cluster()
    for number in range(2):
        site.say(answer(number, {field: 9e18}), number)
    site.until(1)
    site.collect()
    assert site.states() == ["refused", "refused"]
    assert site.window()["fault"] == "out-of-range"


def test_many_namespaces_whose_bytes_no_day_could_add_up_are_refused(site: Site) -> None:
    site.cluster()
    rows = {f"n{number}": allocation(pvByteHours=0.9e17) for number in range(3)}
    site.say(
        body_of(
            {"kube-system": allocation(hour(0))}
            | {name: {**row, "window": allocation(hour(0))["window"]} for name, row in rows.items()}
        )
    )
    site.collect()
    assert site.window()["fault"] == "out-of-range"


def test_an_idle_row_beyond_all_sense_is_left_out(site: Site) -> None:
    site.cluster()
    for number in range(2):
        site.say(answer(number, {"ramByteHours": 9e18}, "__idle__"), number)
    site.until(1)
    site.collect()
    assert site.states() == ["collected", "collected"]
    assert site.window()["flags"] == ["idle-unreadable"]
    site.day_later()
    site.open_windows()
    site.post()
    site.must_balance()


@pytest.mark.parametrize(
    "costs", [[(5, 2000), (-4.999999999, 0)], [(400_000, 2000)] * 24], ids=["quotient", "sum"]
)
def test_an_efficiency_beyond_all_sense_is_cut_off(
    site: Site, costs: list[tuple[float, float]]
) -> None:
    site.cluster(cost_max_nano=10**15)
    site.map("a", site.user(), 0)
    for number, (cost, efficiency) in enumerate(costs):
        fields = {"cpuCost": cost, "ramCost": 0, "totalEfficiency": efficiency}
        site.say(answer(number, fields), number)
    site.until(len(costs) - 1)
    site.collect()
    assert set(site.states()) == {"collected"}
    site.day_later()
    site.open_windows()
    site.post()
    assert site.value("SELECT count(*) FROM usage_daily WHERE project_breakdown IS NOT NULL") == 1
    site.must_balance()


def test_a_day_that_cannot_be_posted_holds_up_no_other(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    for number in (0, 1, 30):
        site.say(["a"], number)
    site.until(30)
    site.collect()
    # However they came in: what no reader lets pass.
    site.connection.execute(
        "UPDATE allocations SET cpu_nano = 9000000000000000000 WHERE hour < %s", [hour(24)]
    )
    with pytest.raises(PostingStuck, match="2026-03-01"):
        site.post()
    assert [row["date"].day for row in site.all("SELECT DISTINCT date FROM usage_daily")] == [2]


def test_a_poster_whose_clock_is_behind_corrects_a_closed_day_whole(site: Site) -> None:
    site.cluster()
    site.map("a", site.user(), 0)
    site.until(20)
    for number in range(21):
        site.say(["a"], number)
    site.collect()
    site.post()
    midnight = hour(24)
    post_due(site.connection, midnight + timedelta(seconds=1))
    site.unmap("a", 3)
    post_due(site.connection, midnight - timedelta(seconds=1))
    post_due(site.connection, midnight + timedelta(hours=5))
    site.must_balance()


def test_years_of_a_small_currency_are_proved_and_moved(site: Site) -> None:
    site.cluster(currency="IDR", cost_max_nano=2 * 10**17)
    for number in range(60):
        site.say({"a": 1.7e8}, number)
    site.until(59)
    site.collect()
    site.post()
    assert site.map("a", site.user(), 0).cost_nano > 2**63
    site.must_balance()


def test_a_visit_that_dies_does_not_forget_which_cluster_it_was(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise psycopg.OperationalError("killed before it could conclude")

    site.cluster()
    for number in range(5):
        site.say(body(["a"], hour(number), cluster="A" if number < 3 else "B"), number)
    site.until(2)
    site.open_windows()
    with monkeypatch.context() as patch:
        patch.setattr(visits, "_conclude", die)
        (work,) = windows.clusters_with_work(site.connection, site.now, 10)
        with pytest.raises(psycopg.OperationalError):
            visit_cluster(site.tools, work)
    assert site.states() == ["collected"] * 3
    site.until(4)
    site.collect()
    assert site.states() == ["collected"] * 3 + ["refused"] * 2


def test_an_edit_of_a_cluster_and_a_store_of_its_first_names_take_turns(site: Site) -> None:
    """Each locks the cluster's row before ATTRIBUTION, and new names need no more than its key."""
    site.cluster()
    site.until(1)
    claims = claims_of(site)
    went: dict[str, Any] = {}
    locked = threading.Event()

    def edit() -> None:
        with site.open("edit") as connection, connection.transaction():
            cluster = find_cluster(connection, "eu-1", lock=True)
            locked.set()
            storing.join(0.3)
            reattribute_cluster(connection, ADMIN, cluster.id, why="a test")
        went["edit"] = "done"

    def store() -> None:
        locked.wait(WAIT_S)
        with site.open(NAME) as connection:
            came = store_answers(
                connection,
                [asked(claim, ["a", "b"]) for claim in claims],
                attribution=Attribution(),
                policy=POLICY,
                now=site.now,
            )
        went["store"] = len(came)

    storing, editing = threading.Thread(target=store), threading.Thread(target=edit)
    for thread in (storing, editing):
        thread.start()
    for thread in (storing, editing):
        thread.join(WAIT_S)
    assert went == {"edit": "done", "store": 2}


def test_an_answer_that_finds_no_room_is_told_so_and_takes_none(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROOM_TIMEOUT_S", 0.1)
    monkeypatch.setattr(writer, "WAITING_MAX", 1)
    site.cluster()
    site.until(4)
    claims = claims_of(site)
    asleep, go_on = threading.Event(), threading.Event()

    def connect() -> Any:
        asleep.set()
        go_on.wait(WAIT_S)
        return site.open(NAME)

    slow = Writer(connect, NAME, POLICY, lambda: site.now)
    first = slow.store(asked(claims[0], ["a"]))
    assert asleep.wait(WAIT_S)
    second = slow.store(asked(claims[1], ["a"]))
    with pytest.raises(TimeoutError):
        slow.store(asked(claims[2], ["a"])).result(WAIT_S)
    go_on.set()
    assert [each.result(WAIT_S).outcome for each in (first, second)] == ["stored", "stored"]
    assert slow.store(asked(claims[3], ["a"])).result(WAIT_S).outcome == "stored"
    slow.close()
