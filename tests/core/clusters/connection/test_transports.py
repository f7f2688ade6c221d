"""Both transports on the sandbox: its API server speaks the real protocol and has real faults."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from core.clock import HOUR, last_closed_hour, utc_now
from core.clusters.connection import ClusterAccess, Launcher, Transport, VisitLimits, visit
from core.clusters.connection.clocks import AHEAD_MAX_S
from core.clusters.kubeconfig import read_kubeconfig
from core.errors import ClusterFault, ClusterTimeout
from core.secret import Secret
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.kube.identity import Rule
from sandbox.kube.objects import Container
from sandbox.world import World

HELD_WITHIN_S = 0.5
SIDE_BY_SIDE = 20
LIMITS = VisitLimits(answer_s=10)
AHEAD_S = 300
BOTH = pytest.mark.parametrize("transport", ["exec", "proxy"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(clusters=[ClusterSpec("eu-1", namespaces=12)]) as world:
        yield world


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    """The one cluster, as it was before whatever a test does to it."""
    cluster = world["eu-1"]
    pods, version = list(cluster.state.pods), cluster.state.version
    yield cluster
    cluster.faults.clear()
    cluster.state.pods[:] = pods
    cluster.state.version = version


def minimal(text: str) -> Secret:
    now = utc_now()
    return read_kubeconfig(text, now=now, allow_loopback=True).minimal_document()


def access(cluster: Cluster, transport: Transport = "exec", text: str = "") -> ClusterAccess:
    document = minimal(text or cluster.kubeconfig(transport))
    return ClusterAccess(cluster.name, document, transport, service=cluster.place.service)


def last_hour() -> str:
    start = int(last_closed_hour(utc_now()).timestamp())
    return (
        f"/allocation?window={start},{start + 3600}&aggregate=cluster,namespace&includeIdle=true"
        "&includeAggregatedMetadata=false"
    )


def ask(
    launcher: Launcher, to: ClusterAccess, path: str = "/healthz", limits: VisitLimits = LIMITS
) -> bytes:
    with visit(to, limits, launcher) as reach:
        return reach.get(path)


@BOTH
def test_an_hour_arrives_as_opencost_said_it(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    body = ask(launcher, access(cluster, transport), last_hour())
    answer = json.loads(body)
    assert answer["code"] == 200
    assert len(answer["data"]) == 1
    assert any(key.endswith("/kube-system") for key in answer["data"][0])


@BOTH
def test_one_visit_asks_many_hours_and_looks_pod_or_clock_up_once(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    first = last_closed_hour(utc_now())
    before = cluster.server.requests
    with visit(access(cluster, transport), LIMITS, launcher) as reach:
        for age in range(24):
            start = int((first - age * HOUR).timestamp())
            body = reach.get(f"/allocation?window={start},{start + 3600}&aggregate=namespace")
            assert json.loads(body)["code"] == 200
    assert cluster.server.requests - before == 24 + 1


@BOTH
def test_a_clock_that_is_ahead_has_nothing_asked_until_it_is_right(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    lie = cluster.faults.add("wrong_date", seconds=-AHEAD_S)
    asked = len(cluster.asks)
    with visit(access(cluster, transport), LIMITS, launcher) as reach:
        with pytest.raises(ClusterFault) as raised:
            reach.get(last_hour())
        assert len(cluster.asks) == asked
        cluster.faults.remove(lie)
        assert json.loads(reach.get(last_hour()))["code"] == 200
    assert (raised.value.step, type(raised.value)) == ("clock", ClusterFault)
    ours, theirs = (
        datetime.fromisoformat(f"{said}Z")
        for said in re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", raised.value.said)
    )
    assert AHEAD_S - 1 <= (ours - theirs).total_seconds() <= AHEAD_S + 2
    assert "NTP" in raised.value.cure


@BOTH
@pytest.mark.parametrize("seconds", [AHEAD_S, -(AHEAD_MAX_S - 5)], ids=["behind", "a little ahead"])
def test_a_clock_that_lets_no_open_hour_be_asked_for_is_left_to_the_check(
    launcher: Launcher, cluster: Cluster, transport: Transport, seconds: float
) -> None:
    cluster.faults.add("wrong_date", seconds=seconds)
    assert json.loads(ask(launcher, access(cluster, transport), last_hour()))["code"] == 200


@BOTH
def test_a_client_certificate_opens_both_ways(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    text = cluster.kubeconfig(transport, credential="certificate")
    assert ask(launcher, access(cluster, transport, text)) == b""


def test_kubernetes_before_1_30_speaks_v4(launcher: Launcher, cluster: Cluster) -> None:
    cluster.state.version = "1.29"
    assert json.loads(ask(launcher, access(cluster), last_hour()))["code"] == 200


@BOTH
def test_five_megabytes_of_text_arrive_intact(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    cluster.faults.add("huge", bytes=5 * 1024 * 1024)
    body = ask(launcher, access(cluster, transport), last_hour())
    assert len(body) >= 5 * 1024 * 1024
    assert json.loads(body.decode("utf-8", "strict"))["code"] == 200


@BOTH
def test_an_answer_over_the_limit_is_not_read_on(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    cluster.faults.add("huge", bytes=4 * 1024 * 1024)
    limits = replace(LIMITS, size_max_bytes=1024 * 1024)
    with pytest.raises(ClusterFault, match="larger than 1 MiB"):
        ask(launcher, access(cluster, transport), last_hour(), limits)


@BOTH
@pytest.mark.parametrize("fault", ["frozen_handshake", "frozen_request"])
def test_a_frozen_api_server_is_left_at_the_deadline(
    launcher: Launcher, cluster: Cluster, transport: Transport, fault: str
) -> None:
    to = access(cluster, transport)
    cluster.faults.add(fault)
    begin = time.monotonic()
    with pytest.raises(ClusterTimeout, match="eu-1, connect"):
        ask(launcher, to, limits=VisitLimits(answer_s=1))
    assert 1 <= time.monotonic() - begin < 1 + HELD_WITHIN_S


@pytest.mark.parametrize("fault", ["frozen_handshake", "frozen_request"])
def test_an_api_server_that_freezes_between_look_up_and_exec_is_left_too(
    launcher: Launcher, cluster: Cluster, fault: str
) -> None:
    with visit(access(cluster), VisitLimits(answer_s=1), launcher) as reach:
        reach.get("/healthz")
        cluster.faults.add(fault)
        begin = time.monotonic()
        with pytest.raises(ClusterTimeout, match="eu-1, connect"):
            reach.get("/healthz")
        assert 1 <= time.monotonic() - begin < 1 + HELD_WITHIN_S
        cluster.faults.clear()
        assert reach.get("/healthz") == b""


@BOTH
def test_a_slow_opencost_is_left_at_the_deadline(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    cluster.faults.add("slow", seconds=3)
    begin = time.monotonic()
    with pytest.raises(ClusterTimeout):
        ask(launcher, access(cluster, transport), last_hour(), VisitLimits(answer_s=1.5))
    assert time.monotonic() - begin < 1.5 + HELD_WITHIN_S


def test_no_wget_piles_up_in_the_pod(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("slow", seconds=30)
    with pytest.raises(ClusterTimeout):
        ask(launcher, access(cluster), last_hour(), VisitLimits(answer_s=1.5))
    until = time.monotonic() + 2
    while cluster.server.processes_running:
        assert time.monotonic() < until, "the program in the pod must end by itself"
        time.sleep(0.02)


@BOTH
def test_a_cut_in_the_middle_is_a_fault_and_one_that_passes_is_survived(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    cluster.faults.add("cut", times=1)
    assert json.loads(ask(launcher, access(cluster, transport), last_hour()))["code"] == 200
    number = cluster.faults.add("cut")
    limits = replace(LIMITS, retries_max=1)
    with pytest.raises(ClusterFault, match="was cut"):
        ask(launcher, access(cluster, transport), last_hour(), limits)
    assert cluster.faults.taken(number) == 2


def test_an_exec_without_a_status_is_no_answer(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("no_status")
    limits = replace(LIMITS, retries_max=0)
    with pytest.raises(ClusterFault, match="without an exit status"):
        ask(launcher, access(cluster), last_hour(), limits)


def test_a_killed_program_is_no_answer(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("exit_code", code=137)
    limits = replace(LIMITS, retries_max=0)
    with pytest.raises(ClusterFault, match="killed in the pod"):
        ask(launcher, access(cluster), last_hour(), limits)


def test_curl_is_found_where_wget_is_missing_and_remembered(
    launcher: Launcher, cluster: Cluster
) -> None:
    cluster.faults.add("wget_missing")
    with visit(access(cluster), LIMITS, launcher) as reach:
        assert json.loads(reach.get(last_hour()))["code"] == 200
        before = cluster.server.requests
        assert reach.get("/healthz") == b""
        assert cluster.server.requests - before == 1


def test_neither_wget_nor_curl_names_another_container(
    launcher: Launcher, cluster: Cluster
) -> None:
    cluster.faults.add("tools_missing")
    to = access(cluster)
    with pytest.raises(ClusterFault, match=r"neither wget nor curl.*opencost-ui"):
        ask(launcher, to)
    assert ask(launcher, replace(to, container="opencost-ui")) == b""


@pytest.mark.parametrize("tool_fault", ["", "wget_missing"])
def test_proxies_of_the_pod_decide_nothing(
    launcher: Launcher, cluster: Cluster, tool_fault: str
) -> None:
    cluster.faults.add("http_proxy")
    if tool_fault:
        cluster.faults.add(tool_fault)
    assert ask(launcher, access(cluster)) == b""


def test_an_error_of_opencost_is_told_by_exec(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("error_500", body="prometheus is away")
    with pytest.raises(ClusterFault, match="eu-1, opencost: OpenCost answers 500"):
        ask(launcher, access(cluster), last_hour())
    cluster.faults.add("wget_missing")
    with pytest.raises(ClusterFault, match=r"OpenCost answers 500: .*prometheus is away"):
        ask(launcher, access(cluster), last_hour())


def test_an_error_of_opencost_is_told_by_proxy(launcher: Launcher, cluster: Cluster) -> None:
    number = cluster.faults.add("error_500", body="prometheus is away")
    with pytest.raises(ClusterFault, match=r"OpenCost answers 500: .*prometheus is away"):
        ask(launcher, access(cluster, "proxy"), last_hour())
    assert cluster.faults.taken(number) == 1
    cluster.faults.clear()
    number = cluster.faults.add("html_502", times=1)
    assert json.loads(ask(launcher, access(cluster, "proxy"), last_hour()))["code"] == 200
    assert cluster.faults.taken(number) == 1


@BOTH
def test_nothing_is_handed_on_as_nothing(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    """What an empty 200 means is for the reader of answers to say; it refuses it."""
    cluster.faults.add("empty_200")
    assert ask(launcher, access(cluster, transport), last_hour()) == b""


@BOTH
def test_refused_credentials_are_named_and_not_tried_again(
    launcher: Launcher, cluster: Cluster, transport: Transport
) -> None:
    number = cluster.faults.add("unauthorized")
    with pytest.raises(ClusterFault, match=r"eu-1, credentials: .*401"):
        ask(launcher, access(cluster, transport))
    assert cluster.faults.taken(number) == 1


@pytest.mark.parametrize(
    ("role", "transport", "words"),
    [
        ("exec-no-list", "exec", r'resources: \["pods"\], verbs: \[list\]'),
        ("pods-only", "exec", r'resources: \["pods/exec"\], verbs: \[get, create\]'),
        ("exec-get-only", "exec", "1.35 and newer"),
        ("nothing", "proxy", r'resourceNames: \["opencost:9003"\]'),
    ],
)
def test_a_missing_rule_is_spelled_out(
    launcher: Launcher, cluster: Cluster, role: str, transport: Transport, words: str
) -> None:
    to = access(cluster, transport, cluster.kubeconfig(role))
    with pytest.raises(ClusterFault, match=words) as raised:
        ask(launcher, to)
    assert raised.value.step == "permission"


def test_get_alone_is_enough_before_1_35(launcher: Launcher, cluster: Cluster) -> None:
    cluster.state.version = "1.34"
    assert ask(launcher, access(cluster, "exec", cluster.kubeconfig("exec-get-only"))) == b""


def test_the_guide_s_roles_are_enough(launcher: Launcher, cluster: Cluster) -> None:
    listing, execute = Rule(("list",), ("pods",)), Rule(("get", "create"), ("pods/exec",))
    text = cluster.kubeconfig(rules=(listing, execute))
    assert ask(launcher, access(cluster, "exec", text)) == b""
    proxy = Rule(("get",), ("services/proxy",), names=("opencost:9003",))
    text = cluster.kubeconfig(rules=(proxy,))
    assert ask(launcher, access(cluster, "proxy", text)) == b""


def test_a_service_without_pods_names_the_way_out(launcher: Launcher, cluster: Cluster) -> None:
    cluster.faults.add("no_endpoints")
    limits = replace(LIMITS, retries_max=0)
    with pytest.raises(ClusterFault, match=r"no endpoints available.*transport exec"):
        ask(launcher, access(cluster, "proxy"), limits=limits)


def test_the_wrong_ca_is_refused_by_name(launcher: Launcher, cluster: Cluster) -> None:
    with World(clusters=["other"]) as elsewhere:
        text = cluster.kubeconfig().replace(cluster.api_url, elsewhere["other"].api_url)
        for transport in ("exec", "proxy"):
            to = replace(access(cluster, "exec", text), transport=transport)
            with pytest.raises(ClusterFault, match=r"eu-1, tls: .*another CA"):
                ask(launcher, to)


def test_a_name_that_the_certificate_lacks_is_refused(launcher: Launcher, cluster: Cluster) -> None:
    text = cluster.kubeconfig()
    wrong = text.replace("server:", "tls-server-name: 10.9.8.7\n    server:")
    with pytest.raises(ClusterFault, match=r"eu-1, tls: .*not for this IP"):
        ask(launcher, access(cluster, "exec", wrong))
    named = text.replace("server:", "tls-server-name: elsewhere.example\n    server:")
    with pytest.raises(ClusterFault, match=r"eu-1, tls: .*another host name"):
        ask(launcher, access(cluster, "exec", named))
    right = text.replace("server:", "tls-server-name: kubernetes.default.svc\n    server:")
    assert ask(launcher, access(cluster, "exec", right)) == b""


def test_a_server_name_of_its_own_holds_for_the_proxy_too(
    launcher: Launcher, cluster: Cluster
) -> None:
    text = cluster.kubeconfig("proxy")
    right = text.replace("server:", "tls-server-name: kubernetes.default.svc\n    server:")
    assert ask(launcher, access(cluster, "proxy", right)) == b""
    wrong = text.replace("server:", "tls-server-name: elsewhere.example\n    server:")
    with pytest.raises(ClusterFault, match=r"eu-1, tls: .*another host name"):
        ask(launcher, access(cluster, "proxy", wrong))


def test_a_pod_replaced_between_two_asks_is_found_again(
    launcher: Launcher, cluster: Cluster
) -> None:
    with visit(access(cluster), LIMITS, launcher) as reach:
        reach.get("/healthz")
        old = cluster.state.pods[0]
        new = old.with_(name="opencost-new", created_at=old.created_at + timedelta(days=1))
        cluster.state.pods[0] = new
        assert reach.get("/healthz") == b""


def test_while_a_roll_out_is_under_way_the_new_pod_is_asked(
    launcher: Launcher, cluster: Cluster
) -> None:
    old = cluster.state.pods[0]
    ending = old.with_(name="ending", deleted_at=utc_now())
    starting = old.with_(name="starting", ready=False, created_at=utc_now())
    cluster.state.pods[0:1] = [ending, starting]
    with pytest.raises(ClusterFault, match="eu-1, pod: no pod of OpenCost is ready"):
        ask(launcher, access(cluster))
    cluster.state.pods[1] = starting.with_(ready=True)
    assert ask(launcher, access(cluster)) == b""


def test_names_of_containers_mean_nothing(launcher: Launcher, cluster: Cluster) -> None:
    pod = cluster.state.pods[0]
    sidecar = Container("sigv4proxy", (8005,))
    cluster.state.pods[0] = pod.with_(containers=(sidecar, *pod.containers))
    assert ask(launcher, access(cluster)) == b""


def test_twenty_clusters_side_by_side_keep_apart(launcher: Launcher) -> None:
    """Scar 26: one that is frozen holds nobody up."""
    specs = [ClusterSpec(f"c{n}", cluster_id=f"id{n}", namespaces=8) for n in range(SIDE_BY_SIDE)]
    with World(clusters=specs) as world:
        to = {name: access(cluster) for name, cluster in world.clusters.items()}
        world["c0"].faults.add("frozen_handshake")
        path, limits = last_hour(), VisitLimits(answer_s=15, connect_s=3)

        def one(name: str) -> bytes | float:
            begin = time.monotonic()
            try:
                return ask(launcher, to[name], path, limits)
            except ClusterTimeout:
                return time.monotonic() - begin

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            answers = dict(zip(to, pool.map(one, to), strict=True))
    frozen = answers.pop("c0")
    assert isinstance(frozen, float)
    assert frozen < 3 + HELD_WITHIN_S
    for number, answer in enumerate(answers.values(), start=1):
        assert isinstance(answer, bytes)
        keys = json.loads(answer)["data"][0]
        assert {key.partition("/")[0] for key in keys} <= {f"id{number}", "__idle__"}


def test_a_visit_s_own_memory_is_small(launcher: Launcher, cluster: Cluster) -> None:
    with visit(access(cluster), LIMITS, launcher) as reach:
        reach.get(last_hour())
        pid = launcher.pid()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        resident, shared = (
            int(word) * 4096 for word in Path(f"/proc/{children[0]}/statm").read_text().split()[1:3]
        )
    assert resident - shared < 64 * 1024 * 1024
