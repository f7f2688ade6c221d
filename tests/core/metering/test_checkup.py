"""The judged end of a check, over a real visit to the sandbox's OpenCost."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from core.clock import HOUR, hour_text, last_closed_hour, utc_now
from core.clusters.connection import CheckStep, ClusterAccess, Launcher, VisitLimits, visit
from core.clusters.kubeconfig import read_kubeconfig
from core.metering.checkup import ASKS_MAX, LOOK_BACK, NAMES, Patient, check_cluster, patient
from core.metering.policy import Policy
from core.opencost.answer import Limits
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.faults import for_hour
from sandbox.world import World
from tests.database import Database
from tests.factories import NOW, SINCE, add_cluster, add_window

LIMITS = VisitLimits(answer_s=10, retries_max=0)
RETENTION_DAYS = 5
BELIEVED = Limits(10**13, 10**4, 10**3, 2**50, "kube-system", "eu-1")


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    one = Launcher()
    one.pid()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    spec = ClusterSpec("eu-1", cluster_id="eu-1", namespaces=8, retention_days=RETENTION_DAYS)
    with World(clusters=[spec]) as world:
        yield world


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    yield world["eu-1"]
    world["eu-1"].faults.clear()


def newest() -> Any:
    return last_closed_hour(utc_now(), Policy().delay)


def ill(**changes: Any) -> Patient:
    known: dict[str, Any] = {
        "name": "eu-1",
        "currency": "USD",
        "limits": BELIEVED,
        "newest": newest(),
        "missing": (),
        "credentials_expire_at": None,
    }
    return Patient(**known | changes)


def check(launcher: Launcher, cluster: Cluster, of: Patient, text: str = "") -> list[CheckStep]:
    text = text or cluster.kubeconfig()
    document = read_kubeconfig(text, now=utc_now(), allow_loopback=True).minimal_document()
    with visit(ClusterAccess(cluster.name, document), LIMITS, launcher) as reach:
        return check_cluster(reach, of, utc_now())


def judged(launcher: Launcher, cluster: Cluster, **changes: Any) -> dict[str, CheckStep]:
    steps = check(launcher, cluster, ill(**changes))[-len(NAMES) :]
    return {step.name: step for step in steps}


def test_a_sound_cluster_is_told_with_its_figures(launcher: Launcher, cluster: Cluster) -> None:
    asked = len(cluster.asks)
    found = judged(launcher, cluster)
    assert tuple(found) == NAMES
    assert {step.outcome for step in found.values()} == {"ok"}, found
    assert hour_text(newest()) in found["opencost"].saw
    assert "rows, " in found["answer"].saw
    assert found["answer"].saw.endswith("USD for the hour.")
    assert found["cluster id"].saw == "eu-1, as registered."
    assert found["sentinel"].saw == "kube-system is there."
    assert len(cluster.asks) - asked <= 1 + ASKS_MAX


def test_the_oldest_hour_that_is_still_known_is_found(launcher: Launcher, cluster: Cluster) -> None:
    saw = judged(launcher, cluster)["history"].saw
    oldest = newest() - RETENTION_DAYS * 24 * HOUR
    near = [hour_text(oldest + offset * HOUR) for offset in range(-1, 4)]
    assert any(each in saw for each in near), saw


def test_hours_that_opencost_forgot_are_told_as_coming_gaps(
    launcher: Launcher, cluster: Cluster
) -> None:
    wanted = tuple(newest() - number * HOUR for number in range(200, -1, -1))
    history = judged(launcher, cluster, missing=wanted)["history"]
    assert history.outcome == "warn"
    assert "missing in the books: " in history.cure
    lost = int(history.cure.partition("books: ")[2].partition(".")[0])
    assert 70 <= lost <= 200 - RETENTION_DAYS * 24 + 2
    assert "about" not in history.saw
    assert lost == sum(hour_text(each) < history.saw.split()[2] for each in wanted)


def test_a_wanted_hour_that_is_soon_forgotten_is_a_warning(
    launcher: Launcher, cluster: Cluster
) -> None:
    wanted = (newest() - (RETENTION_DAYS * 24 - 20) * HOUR,)
    history = judged(launcher, cluster, missing=wanted)["history"]
    assert history.outcome == "warn"
    assert "less than 48 hours" in history.cure


@pytest.mark.parametrize(
    ("fault", "step", "outcome", "said"),
    [
        ("two_clusters", "cluster id", "fail", "two-clusters: "),
        ("null_total", "answer", "fail", "no-number: "),
        ("wrong_window", "answer", "fail", "other-window: "),
        ("long_minutes", "answer", "warn", "minutes: "),
        ("no_sentinel", "sentinel", "warn", "no-sentinel: "),
        ("negative_idle", "idle", "warn", "negative-cost"),
    ],
)
def test_each_complaint_is_told_by_its_name(
    launcher: Launcher, cluster: Cluster, fault: str, step: str, outcome: str, said: str
) -> None:
    cluster.faults.add(fault, times=1)
    found = judged(launcher, cluster)
    assert (found[step].outcome, said in found[step].saw) == (outcome, True), found[step]
    assert found[step].cure
    others = {each.outcome for name, each in found.items() if name not in (step, "idle")}
    assert others == {"ok"}


def test_another_cluster_behind_the_address_is_told(launcher: Launcher, cluster: Cluster) -> None:
    limits = Limits(1, 1, 1, 1, "", "us-1")
    found = judged(launcher, cluster, limits=limits)
    assert found["cluster id"].outcome == "fail"
    assert found["limits"].outcome == "warn"
    assert found["sentinel"].saw == "none is set."
    assert "hours accept" not in found["limits"].cure, "nothing of it can be accepted"


def test_an_answer_with_nothing_in_it_ends_the_check(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("empty_set")
    found = judged(launcher, cluster)
    assert found["answer"].outcome == "fail"
    assert found["answer"].saw.startswith("no-data: ")
    assert [found[name].outcome for name in NAMES[2:]] == ["not reached"] * 5


def test_an_opencost_that_fails_is_told_with_its_words(
    launcher: Launcher, cluster: Cluster
) -> None:
    cluster.faults.add("error_500")
    found = judged(launcher, cluster)
    assert found["opencost"].outcome == "fail"
    assert "500" in found["opencost"].saw
    assert {found[name].outcome for name in NAMES[1:]} == {"not reached"}


def test_a_look_back_that_is_not_answered_says_how_far_it_came(
    launcher: Launcher, cluster: Cluster
) -> None:
    of = ill()
    cluster.faults.add("error_500", **for_hour(of.newest - LOOK_BACK))
    history = check(launcher, cluster, of)[-1]
    assert history.outcome == "warn"
    assert "was not answered" in history.saw


def test_where_nobody_answers_the_register_tells_of_the_credentials(
    launcher: Launcher, cluster: Cluster
) -> None:
    with World(clusters=["other"]) as elsewhere:
        text = cluster.kubeconfig().replace(cluster.api_url, elsewhere["other"].api_url)
        of = ill(credentials_expire_at=utc_now() + timedelta(days=3, hours=1))
        steps = {step.name: step for step in check(launcher, cluster, of, text)}
    assert steps["tls"].outcome == "fail"
    assert steps["credentials"].outcome == "warn"
    assert "(3 days)" in steps["credentials"].saw
    assert steps["opencost"].outcome == steps["history"].outcome == "not reached"


def test_what_is_missing_is_what_somebody_still_wants(database: Database) -> None:
    connection = database.connect()
    one, other = add_cluster(connection), add_cluster(connection, "eu-2")
    states = ("settled", "gap", "waived", "refused", "due", "held")
    for number, state in enumerate(states):
        add_window(connection, one, SINCE + number * HOUR, state)
        add_window(connection, other, SINCE + number * HOUR, "settled")
    now = SINCE + 8 * HOUR + timedelta(minutes=15)
    found = patient(connection, "eu-1", now)
    assert found.missing == tuple(SINCE + number * HOUR for number in (3, 4, 6, 7))
    assert (found.newest, found.limits.sentinel) == (SINCE + 7 * HOUR, "kube-system")
    connection.execute(
        "UPDATE hopsworks_clusters SET status = 'paused', paused_since = %s", [SINCE + 6 * HOUR]
    )
    assert patient(connection, "eu-1", NOW).missing == (SINCE + 3 * HOUR, SINCE + 4 * HOUR)
