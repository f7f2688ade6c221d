"""Each fault, seen from where it hurts."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from websocket import WebSocketConnectionClosedException

from core.clock import utc_now
from sandbox.cluster import Cluster
from sandbox.faults import KINDS, Fault, for_hour
from sandbox.world import World
from tests.sandbox.clients import (
    an_hour_ago,
    core_api,
    http_to,
    raw_path,
    run_in_pod,
    target_of,
    wget,
)

SOON_S = 0.5


@pytest.fixture
def hour(now: datetime) -> datetime:
    return an_hour_ago(now)


@pytest.fixture
def http(cluster: Cluster) -> Iterator[httpx.Client]:
    with http_to(cluster) as client:
        yield client


def ask(cluster: Cluster, http: httpx.Client, hour: datetime) -> httpx.Response:
    return http.get(raw_path(cluster, target_of(hour)))


def rows(cluster: Cluster, http: httpx.Client, hour: datetime) -> dict[str, Any]:
    answer = ask(cluster, http, hour).json()
    assert len(answer["data"]) == 1
    return {key.removeprefix("eu-prod/"): row for key, row in answer["data"][0].items()}


def test_a_frozen_handshake_accepts_and_says_nothing(cluster: Cluster) -> None:
    number = cluster.faults.add("frozen_handshake")
    context = ssl.create_default_context(cadata=cluster.ca_pem)
    address = ("127.0.0.1", cluster.server.port)
    with (
        socket.create_connection(address, timeout=SOON_S) as plain,
        pytest.raises(TimeoutError),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    cluster.faults.remove(number)
    with (
        socket.create_connection(address, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        assert secured.version() == "TLSv1.3"


def test_a_frozen_request_never_answers(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    cluster.faults.add("frozen_request", times=1)
    with pytest.raises(httpx.ReadTimeout):
        http.get("/version", timeout=SOON_S)
    assert ask(cluster, http, hour).status_code == 200


@pytest.mark.parametrize(("kind", "status"), [("unauthorized", 401), ("forbidden", 403)])
def test_refusals_of_the_api_server_have_its_shape(
    cluster: Cluster, http: httpx.Client, hour: datetime, kind: str, status: int
) -> None:
    cluster.faults.add(kind, times=1)
    refused = ask(cluster, http, hour)
    assert (refused.status_code, refused.json()["kind"]) == (status, "Status")
    assert ask(cluster, http, hour).status_code == 200


def test_no_endpoints_is_told_apart(cluster: Cluster, http: httpx.Client, hour: datetime) -> None:
    cluster.faults.add("no_endpoints")
    refused = ask(cluster, http, hour)
    assert refused.status_code == 503
    assert refused.json()["message"] == 'no endpoints available for service "opencost"'


def test_a_wrong_date_stands_over_right_answers(
    cluster: Cluster, http: httpx.Client, now: datetime
) -> None:
    cluster.faults.add("wrong_date", seconds=-900, times=1)
    lying, honest = (parsedate_to_datetime(http.get("/version").headers["date"]) for _ in "12")
    assert lying == (now - timedelta(seconds=900)).replace(microsecond=0)
    assert honest == now.replace(microsecond=0)


def test_a_world_in_the_past_may_date_its_answers_by_the_host(
    cluster: Cluster, http: httpx.Client, now: datetime
) -> None:
    cluster.faults.add("host_date", times=1)
    ours, theirs = (parsedate_to_datetime(http.get("/version").headers["date"]) for _ in "12")
    assert abs(ours - utc_now()) < timedelta(minutes=1)
    assert theirs == now.replace(microsecond=0)


def test_a_cut_proxy_answer_breaks_off(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    cluster.faults.add("cut", bytes=1000, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(cluster, http, hour)
    assert ask(cluster, http, hour).status_code == 200


def test_a_cut_exec_has_half_and_no_goodbye(
    cluster: Cluster, tmp_path: Path, hour: datetime
) -> None:
    cluster.faults.add("cut", bytes=1000)
    with (
        core_api(cluster, tmp_path) as core,
        pytest.raises(WebSocketConnectionClosedException, match="lost"),
    ):
        run_in_pod(core, cluster, wget(hour))


def test_wget_may_be_missing_with_curl_there_or_not(
    cluster: Cluster, tmp_path: Path, hour: datetime
) -> None:
    curl = ["curl", "-sSf", "-m", "9", "--noproxy", "*", wget(hour)[-1]]
    with core_api(cluster, tmp_path) as core:
        number = cluster.faults.add("wget_missing")
        missing = run_in_pod(core, cluster, wget(hour)).status
        assert missing
        assert '"wget": executable file not found' in missing["message"]
        assert json.loads(run_in_pod(core, cluster, curl).stdout)["code"] == 200
        cluster.faults.remove(number)
        cluster.faults.add("tools_missing")
        for argv in (curl, wget(hour)):
            status = run_in_pod(core, cluster, argv).status
            assert status
            assert status["reason"] == "InternalError"


def test_http_proxy_in_the_container_catches_a_naive_wget(
    cluster: Cluster, tmp_path: Path, hour: datetime
) -> None:
    cluster.faults.add("http_proxy")
    naive = [word for word in wget(hour) if word not in ("-Y", "off")]
    with core_api(cluster, tmp_path) as core:
        assert b"proxy.corp.example" in run_in_pod(core, cluster, naive).stderr
        assert run_in_pod(core, cluster, wget(hour)).stdout


def test_a_silent_error_channel_and_a_kill(
    cluster: Cluster, tmp_path: Path, hour: datetime
) -> None:
    with core_api(cluster, tmp_path) as core:
        cluster.faults.add("no_status", times=1)
        silent = run_in_pod(core, cluster, wget(hour))
        assert (silent.status, silent.is_open) == (None, False)
        assert json.loads(silent.stdout)["code"] == 200
        cluster.faults.add("exit_code", times=1)
        killed = run_in_pod(core, cluster, wget(hour))
        assert killed.status
        assert killed.status["details"]["causes"][0]["message"] == "137"
        assert 0 < len(killed.stdout) < len(silent.stdout)
        cluster.faults.add("exit_code", times=1, code=7)
        assert "exit code 7" in (run_in_pod(core, cluster, wget(hour)).status or {})["message"]


def test_opencost_may_be_slow_or_down(cluster: Cluster, http: httpx.Client, hour: datetime) -> None:
    cluster.faults.add("slow", seconds=0.3, times=1)
    began = time.monotonic()
    assert ask(cluster, http, hour).status_code == 200
    assert time.monotonic() - began >= 0.3
    cluster.faults.add("error_500", body="no prometheus", times=1)
    failed = ask(cluster, http, hour)
    assert (failed.status_code, failed.json()["message"]) == (500, "Error: no prometheus")
    cluster.faults.add("html_502", times=1)
    page = ask(cluster, http, hour)
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html")
    cluster.faults.add("empty_200", times=1)
    nothing = ask(cluster, http, hour)
    assert (nothing.status_code, nothing.content) == (200, b"")


def test_answers_may_be_truncated_empty_or_huge(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    cluster.faults.add("truncated", times=1)
    with pytest.raises(json.JSONDecodeError):
        ask(cluster, http, hour).json()
    cluster.faults.add("empty_set", times=1)
    assert ask(cluster, http, hour).content == b'{"code":200,"status":"success","data":[{}]}'
    cluster.faults.add("huge", bytes=2_000_000, times=1)
    assert len(ask(cluster, http, hour).content) == 2_000_000


def test_restated_and_shrunken_hours_are_bound_to_their_hours(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    before = rows(cluster, http, hour)
    cluster.faults.add("restated", factor=2, namespaces=("hopsworks",), **for_hour(hour))
    after = rows(cluster, http, hour)
    doubled = pytest.approx(2 * before["hopsworks"]["totalCost"], abs=0.00002)
    assert after["hopsworks"]["totalCost"] == doubled
    assert after["monitoring"] == before["monitoring"]
    cluster.faults.add("shrunken", namespaces=("hopsworks",), **for_hour(hour - timedelta(hours=1)))
    assert rows(cluster, http, hour).keys() == before.keys()
    assert "hopsworks" not in rows(cluster, http, hour - timedelta(hours=1))
    cluster.faults.clear()
    cluster.faults.add("shrunken")
    fewer = rows(cluster, http, hour)
    assert len(before) * 0.3 < len(fewer) < len(before)
    assert "kube-system" in fewer


def test_an_old_hour_may_be_restated_while_a_young_one_is_not(
    world: World, cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    first = rows(cluster, http, hour)
    cluster.faults.add("restated", age_s_min=20 * 3600)
    assert rows(cluster, http, hour) == first
    world.clock.advance(timedelta(hours=24))
    assert rows(cluster, http, hour) != first
    cluster.faults.clear()
    cluster.faults.add("restated", after=world.now() + timedelta(hours=1))
    assert rows(cluster, http, hour) == first
    world.clock.advance(timedelta(hours=1))
    assert rows(cluster, http, hour) != first


def test_nonsense_of_recorded_servers_can_be_had(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    cluster.faults.add("negative_idle", times=1)
    assert rows(cluster, http, hour)["__idle__"]["totalCost"] == -186.571
    cluster.faults.add("negative_minutes", times=1, namespaces=("hopsworks",))
    row = rows(cluster, http, hour)["hopsworks"]
    assert (row["minutes"], row["totalCost"], row["end"] < row["start"]) == (-2.45, 0, True)
    cluster.faults.add("absurd", times=1, namespaces=("hopsworks",))
    text = ask(cluster, http, hour).text
    assert '"minutes":-4435032,' in text
    assert '"cpuCost":-1.97e+25,' in text
    cluster.faults.add("null_total", times=1, namespaces=("hopsworks",))
    assert rows(cluster, http, hour)["hopsworks"]["totalCost"] is None
    cluster.faults.add("long_minutes", times=1, namespaces=("hopsworks",))
    assert rows(cluster, http, hour)["hopsworks"]["minutes"] == 75


def test_sets_windows_and_names_may_be_wrong(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    cluster.faults.add("wrong_window", times=1)
    window = rows(cluster, http, hour)["kube-system"]["window"]
    assert window["end"] == hour.strftime("%Y-%m-%dT%H:%M:%SZ")
    cluster.faults.add("two_sets", times=1)
    assert len(ask(cluster, http, hour).json()["data"]) == 2
    cluster.faults.add("no_sentinel", times=1)
    assert "kube-system" not in rows(cluster, http, hour)
    cluster.faults.add("double_name", times=1, namespaces=("hopsworks",))
    assert ask(cluster, http, hour).text.count('"eu-prod/hopsworks":{') == 2
    cluster.faults.add("two_clusters", times=1)
    keys = ask(cluster, http, hour).json()["data"][0]
    assert {key.split("/")[0] for key in keys} == {"eu-prod", "eu-prod-2"}


def test_faults_count_and_end_after_their_times(
    cluster: Cluster, http: httpx.Client, hour: datetime
) -> None:
    number = cluster.faults.add("error_500", times=2)
    statuses = [ask(cluster, http, hour).status_code for _ in range(4)]
    assert statuses == [500, 500, 200, 200]
    assert cluster.faults.taken(number) == 2


def test_a_fault_that_makes_no_sense_is_refused(cluster: Cluster, hour: datetime) -> None:
    with pytest.raises(ValueError, match="no fault is called 'slwo'"):
        cluster.faults.add("slwo")
    with pytest.raises(ValueError, match="before the hour is known"):
        Fault("frozen_handshake", from_hour=hour)


def test_every_kind_of_fault_was_seen_here() -> None:
    source = Path(__file__).read_text()
    assert {kind for kind in KINDS if f'"{kind}"' not in source} == set()
