"""The Python client's exec on the sandbox: the protocol as facts/kubernetes.md saw it."""

import base64
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from sandbox.cluster import Cluster, ClusterSpec
from sandbox.kube.authority import Authority
from sandbox.kube.objects import Pod
from sandbox.world import World
from tests.sandbox.clients import Ran, an_hour_ago, core_api, run_in_pod, wget


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def ran(cluster: Cluster, folder: Path, argv: list[str], **how: Any) -> Ran:
    with core_api(cluster, folder) as core:
        return run_in_pod(core, cluster, argv, **how)


def refusal(cluster: Cluster, folder: Path, role: str = "exec", **how: Any) -> tuple[int, str]:
    """Exec, which must be refused: (HTTP status, message), out of the library's one line."""
    with core_api(cluster, folder, role) as core, pytest.raises(ApiException) as caught:
        run_in_pod(core, cluster, ["true"], **how)
    return read_handshake(str(caught.value.reason))


def read_handshake(reason: str) -> tuple[int, str]:
    match = re.match(r"Handshake status (\d+) .*-\+-\+- (\{.*\})$", reason, re.DOTALL)
    assert match, reason
    return int(match[1]), json.loads(match[2])["message"]


@pytest.fixture
def older(now: datetime) -> Iterator[World]:
    specs = [
        ClusterSpec("before-v5", version="1.29"),
        ClusterSpec("before-create", version="1.34"),
        ClusterSpec("with-create", version="1.35"),
    ]
    with World(clusters=specs, now=lambda: now) as world:
        yield world


def test_exec_speaks_v5_and_v4_as_the_version_has_it(older: World, folder: Path) -> None:
    for name, protocol in (("before-v5", "v4"), ("before-create", "v5"), ("with-create", "v5")):
        done = ran(older[name], folder, ["echo", "hello"])
        assert done.subprotocol == f"{protocol}.channel.k8s.io"
        assert (done.stdout, done.stderr, done.is_open) == (b"hello\n", b"", False)
        assert done.status == {"metadata": {}, "status": "Success"}


def test_get_alone_execs_until_1_35_and_then_is_refused_silently(
    older: World, folder: Path
) -> None:
    with core_api(older["before-create"], folder, "exec-get-only") as core:
        assert run_in_pod(core, older["before-create"], ["true"]).status is not None
    cluster = older["with-create"]
    status, message = refusal(cluster, folder, "exec-get-only")
    assert (status, message) == (403, f'pods "{cluster.place.pod}" is forbidden: ')


def test_a_non_zero_exit_has_the_status_of_a_real_one(cluster: Cluster, folder: Path) -> None:
    done = ran(cluster, folder, ["wget", "-q", "-O", "-", "http://127.0.0.1:9/"])
    assert done.stderr == b"wget: can't connect to remote host (127.0.0.1): Connection refused\n"
    assert done.status
    assert (done.status["status"], done.status["reason"]) == ("Failure", "NonZeroExitCode")
    assert done.status["details"] == {"causes": [{"reason": "ExitCode", "message": "1"}]}


def test_a_missing_program_is_an_internal_error(cluster: Cluster, folder: Path) -> None:
    done = ran(cluster, folder, ["curl", "http://127.0.0.1:9003/"])
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.status
    assert (done.status["reason"], done.status["code"]) == ("InternalError", 500)
    assert "executable file not found in $PATH" in done.status["message"]


def test_curl_lives_in_the_ui_container(cluster: Cluster, folder: Path) -> None:
    url = "http://127.0.0.1:9003/allocation?window=bogus"
    plain = ran(cluster, folder, ["curl", "-sS", "-m", "30", url], container="opencost-ui")
    assert plain.stdout.startswith(b"Invalid 'window' parameter")
    failing = ran(cluster, folder, ["curl", "-sSf", "-m", "30", url], container="opencost-ui")
    assert failing.stderr == b"curl: (22) The requested URL returned error: 400\n"
    assert failing.status
    assert failing.status["details"]["causes"][0]["message"] == "22"
    tail = ran(cluster, folder, ["curl", "-s", "-w", "%{http_code}", url], container="opencost-ui")
    assert tail.stdout.endswith(b"400")


def test_the_container_must_be_named_and_known(cluster: Cluster, folder: Path) -> None:
    pod = cluster.place.pod
    assert refusal(cluster, folder, container="") == (
        400,
        f"a container name must be specified for pod {pod}, choose one of: [opencost opencost-ui]",
    )
    assert refusal(cluster, folder, container="x") == (
        400,
        f"container x is not valid for pod {pod}",
    )


def test_a_missing_pod_is_not_found(cluster: Cluster, folder: Path) -> None:
    pods = cluster.state.pods
    cluster.state.pods = [pod for pod in pods if pod.name != cluster.place.pod]
    status, message = refusal(cluster, folder)
    assert (status, message) == (404, f'pods "{cluster.place.pod}" not found')


def test_expired_revoked_and_absent_credentials_are_refused(cluster: Cluster, folder: Path) -> None:
    def listing(kubeconfig: str) -> int:
        with core_api(cluster, folder, kubeconfig=kubeconfig) as core:
            try:
                core.list_namespaced_pod("opencost")
            except ApiException as error:
                return int(error.status)
        return 200

    past = timedelta(minutes=-1)
    anonymous = yaml.safe_load(cluster.kubeconfig())
    anonymous["users"][0]["user"] = {}
    good = cluster.kubeconfig()
    assert listing(good) == 200
    assert listing(cluster.kubeconfig(expires_in=past)) == 401
    assert listing(cluster.kubeconfig(credential="certificate", expires_in=past)) == 401
    assert listing(cluster.kubeconfig("nothing")) == 403
    assert listing(yaml.safe_dump(anonymous)) == 403
    cluster.identities.revoke_all()
    assert listing(good) == 401


def test_another_clusters_authority_is_not_trusted(cluster: Cluster, folder: Path) -> None:
    document = yaml.safe_load(cluster.kubeconfig())
    other = base64.b64encode(Authority("other").pem).decode()
    document["clusters"][0]["cluster"]["certificate-authority-data"] = other
    with (
        core_api(cluster, folder, kubeconfig=yaml.safe_dump(document)) as core,
        pytest.raises(ApiException, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        run_in_pod(core, cluster, ["true"])


def test_a_client_that_leaves_does_not_end_the_process(cluster: Cluster, folder: Path) -> None:
    left = ran(cluster, folder, ["sleep", "30"], timeout_s=0.3)
    assert (left.is_open, left.status) == (True, None)
    time.sleep(0.2)
    assert cluster.server.processes_running == 1


def test_wget_gives_up_after_its_own_time(cluster: Cluster, folder: Path, now: datetime) -> None:
    cluster.faults.add("slow", seconds=30)
    done = ran(cluster, folder, wget(an_hour_ago(now), timeout_s=0.2))
    assert done.stderr == b"wget: download timed out\n"
    assert cluster.server.processes_running == 0


def test_a_large_answer_comes_whole(cluster: Cluster, folder: Path, now: datetime) -> None:
    cluster.faults.add("huge", bytes=5_000_000)
    done = ran(cluster, folder, wget(an_hour_ago(now)))
    assert len(done.stdout) == 5_000_000
    assert json.loads(done.stdout)["code"] == 200


def test_pods_may_change_while_it_runs(cluster: Cluster, folder: Path) -> None:
    def ready(pod: Any) -> bool:
        return all(c.status == "True" for c in pod.status.conditions)

    def changed(pod: Pod) -> Pod:
        return pod.with_(ready=False) if pod.name == cluster.place.pod else pod

    cluster.state.pods = [changed(pod) for pod in cluster.state.pods]
    with core_api(cluster, folder) as core:
        pods = core.list_namespaced_pod("opencost", label_selector=cluster.place.selector).items
    assert [ready(pod) for pod in pods] == [False]
