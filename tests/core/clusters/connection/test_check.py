"""The walk of `hopsmeter cluster check`: what each step sees, and the cure it names."""

import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from core.clock import utc_now
from core.clusters.connection import (
    CheckStep,
    ClusterAccess,
    Launcher,
    Transport,
    VisitLimits,
    visit,
)
from core.clusters.connection import steps as walk
from core.clusters.connection.client import Credentials, KubeClient, Reply
from core.clusters.kubeconfig import read_kubeconfig
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.world import World

LIMITS = VisitLimits(answer_s=10)
AHEAD = timedelta(seconds=90)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(clusters=[ClusterSpec("eu-1", namespaces=8)]) as world:
        yield world


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    cluster = world["eu-1"]
    pods, version = list(cluster.state.pods), cluster.state.version
    yield cluster
    cluster.faults.clear()
    cluster.state.pods[:] = pods
    cluster.state.version = version


def check(
    launcher: Launcher, cluster: Cluster, transport: Transport = "exec", text: str = ""
) -> dict[str, CheckStep]:
    text = text or cluster.kubeconfig(transport)
    document = read_kubeconfig(text, now=utc_now(), allow_loopback=True).minimal_document()
    with visit(ClusterAccess(cluster.name, document, transport), LIMITS, launcher) as reach:
        steps = {step.name: step for step in reach.check()}
    for step in steps.values():
        assert (step.outcome in ("fail", "warn")) == bool(step.cure), step
        assert bool(step.saw) != (step.outcome == "not reached"), step
    return steps


def outcomes(steps: dict[str, CheckStep]) -> list[str]:
    return [step.outcome for step in steps.values()]


@pytest.mark.parametrize(
    ("transport", "names"),
    [
        ("exec", "kubeconfig connect tls credentials version clock permission pod container exec"),
        ("proxy", "kubeconfig connect tls credentials version clock permission proxy"),
    ],
)
def test_a_sound_cluster_passes_each_step_in_order(
    launcher: Launcher, cluster: Cluster, transport: Transport, names: str
) -> None:
    steps = check(launcher, cluster, transport)
    assert list(steps) == names.split()
    assert set(outcomes(steps)) == {"ok"}
    assert "127.0.0.1" in steps["kubeconfig"].saw
    assert "days" in steps["tls"].saw
    assert "we are system:serviceaccount:opencost:hopsmeter-" in steps["credentials"].saw
    assert "days" in steps["credentials"].saw
    assert "1.36" in steps["version"].saw


def test_a_check_leaves_the_visit_ready_for_asks(launcher: Launcher, cluster: Cluster) -> None:
    text = cluster.kubeconfig()
    document = read_kubeconfig(text, now=utc_now(), allow_loopback=True).minimal_document()
    with visit(ClusterAccess("eu-1", document), LIMITS, launcher) as reach:
        assert reach.get("/healthz") == b""
        reach.check()
        assert reach.get("/healthz") == b""


def test_a_client_certificate_s_end_is_read(launcher: Launcher, cluster: Cluster) -> None:
    text = cluster.kubeconfig(credential="certificate", expires_in=timedelta(days=300, hours=1))
    steps = check(launcher, cluster, "exec", text)
    assert "300 days" in steps["credentials"].saw


def test_credentials_that_end_soon_are_a_warning(launcher: Launcher, cluster: Cluster) -> None:
    text = cluster.kubeconfig(expires_in=timedelta(days=3, hours=1))
    steps = check(launcher, cluster, "exec", text)
    assert steps["credentials"].outcome == "warn"
    assert "3 days" in steps["credentials"].saw
    assert steps["exec"].outcome == "ok"


def test_an_old_server_that_tells_nobody_who_he_is_is_no_fault(
    launcher: Launcher, cluster: Cluster
) -> None:
    cluster.state.version = "1.27"
    steps = check(launcher, cluster)
    assert steps["credentials"].outcome == "ok"
    assert "does not say whose they are" in steps["credentials"].saw


@pytest.mark.parametrize(
    ("status", "outcome", "saw"),
    [
        (201, "ok", "we are anna"),
        (403, "ok", "they may not ask who they are"),
        (404, "ok", "Kubernetes before 1.28"),
        (429, "ok", "is not told: 429"),
        (500, "warn", "failed when asked whose they are (500)"),
    ],
)
def test_only_an_old_server_is_called_old(status: int, outcome: str, saw: str) -> None:
    body = json.dumps({"status": {"userInfo": {"username": "anna"}}}).encode()

    class Answering:
        credentials = Credentials(
            server="https://a.test", ca_pem=b"", tls_server_name=None, token="t",
            certificate_pem=b"", key_pem=b"",
        )  # fmt: skip

        def call(self, *_: object, **__: object) -> Reply:
            return Reply(status, {}, body, utc_now(), utc_now())

    found = walk.credentials_step(cast("KubeClient", Answering()), 1.0)
    assert found.outcome == outcome
    assert saw in found.saw


def test_revoked_credentials_end_the_walk(launcher: Launcher, cluster: Cluster) -> None:
    text = cluster.kubeconfig()
    cluster.identities.revoke_all()
    steps = check(launcher, cluster, "exec", text)
    assert steps["credentials"].outcome == "fail"
    assert "401" in steps["credentials"].saw
    assert "--kubeconfig" in steps["credentials"].cure
    assert steps["exec"].outcome == "not reached"


@pytest.mark.parametrize(
    ("role", "transport", "rule"),
    [
        ("exec-get-only", "exec", 'resources: ["pods/exec"], verbs: [get, create]'),
        ("exec-no-list", "exec", 'resources: ["pods"], verbs: [list]'),
        (
            "nothing",
            "proxy",
            'resources: ["services/proxy"], resourceNames: ["opencost:9003"], verbs: [get]',
        ),
    ],
)
def test_a_missing_rule_is_spelled_out_as_yaml(
    launcher: Launcher, cluster: Cluster, role: str, transport: Transport, rule: str
) -> None:
    steps = check(launcher, cluster, transport, cluster.kubeconfig(role))
    assert steps["permission"].outcome == "fail"
    assert rule in steps["permission"].cure


def test_get_without_create_is_a_warning_before_1_35(launcher: Launcher, cluster: Cluster) -> None:
    cluster.state.version = "1.34"
    steps = check(launcher, cluster, "exec", cluster.kubeconfig("exec-get-only"))
    assert steps["permission"].outcome == "warn"
    assert "1.35" in steps["permission"].saw
    assert steps["exec"].outcome == "ok"


def test_a_foreign_ca_fails_at_tls(launcher: Launcher, cluster: Cluster) -> None:
    with World(clusters=["other"]) as elsewhere:
        text = cluster.kubeconfig().replace(cluster.api_url, elsewhere["other"].api_url)
        steps = check(launcher, cluster, "exec", text)
    assert steps["tls"].outcome == "fail"
    assert "another CA" in steps["tls"].saw


def test_nobody_there_fails_at_connect(
    launcher: Launcher, access_to: Callable[[int], ClusterAccess]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = access_to(server.getsockname()[1])
    with visit(nobody, LIMITS, launcher) as reach:
        steps = {step.name: step for step in reach.check()}
    assert steps["connect"].outcome == "fail"
    assert "refuses the connection" in steps["connect"].saw
    assert steps["tls"].outcome == "not reached"


def test_a_missing_pod_names_where_it_was_looked_for(launcher: Launcher, cluster: Cluster) -> None:
    cluster.state.pods[:] = [p for p in cluster.state.pods if p.namespace != "opencost"]
    steps = check(launcher, cluster)
    assert steps["pod"].outcome == "fail"
    assert "namespace opencost" in steps["pod"].saw
    assert "--selector" in steps["pod"].cure
    assert steps["container"].outcome == "not reached"


def test_a_container_without_tools_fails_at_exec(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("tools_missing")
    steps = check(launcher, cluster)
    assert "`hopsmeter cluster edit eu-1 --container`" in steps["exec"].cure
    assert steps["container"].outcome == "ok"
    assert steps["exec"].outcome == "fail"
    assert "transport proxy" in steps["exec"].cure


def test_another_clock_is_a_warning_with_its_distance(launcher: Launcher) -> None:
    with World(clusters=["eu-1"], now=lambda: utc_now() + AHEAD) as world:
        steps = check(launcher, world["eu-1"])
    assert steps["clock"].outcome == "warn"
    assert "s ahead of ours" in steps["clock"].saw
    assert steps["exec"].outcome == "ok"


@pytest.mark.parametrize("transport", ["exec", "proxy"])
def test_a_clock_that_is_ahead_fails_as_it_does_in_a_visit(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    cluster.faults.add("wrong_date", seconds=-300)
    steps = check(launcher, cluster, transport)
    assert steps["clock"].outcome == "fail"
    assert "s ahead, so nothing is asked" in steps["clock"].saw
    assert "NTP" in steps["clock"].cure
    assert steps[transport].outcome == "not reached"


@pytest.mark.parametrize(
    ("date", "outcome"),
    [
        (None, "warn"),
        ("half past two", "warn"),
        ("Fri, 31 Dec 9999 23:59:59 -2359", "warn"),
        ("Mon, 01 Mar 2027 12:00:07 GMT", "ok"),
        ("Mon, 01 Mar 2027 12:00:07 -0000", "ok"),
        ("Mon, 01 Mar 2027 14:00:07 +0200", "ok"),
        ("Mon, 01 Mar 2027 12:00:17 GMT", "warn"),
        ("Mon, 01 Mar 2027 11:59:50 GMT", "warn"),
    ],
)
def test_clocks_are_compared_by_whatever_date_comes(date: str | None, outcome: str) -> None:
    at = datetime(2027, 3, 1, 12, 0, 0, tzinfo=UTC)
    headers = {"date": date} if date else {}
    slow = Reply(200, headers, b"", at, at + timedelta(seconds=10))
    assert walk.clock_step(slow).outcome == outcome
