"""The real kubectl on the sandbox's API server."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from sandbox.cluster import Cluster
from tests.sandbox.clients import Kubectl, an_hour_ago, raw_path, target_of, wget


def in_pod(cluster: Cluster, *command: str) -> list[str]:
    place = cluster.place
    return ["-n", "opencost", "exec", place.pod, "-c", place.container, "--", *command]


def test_kubectl_lists_pods_as_table_and_as_json(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = Kubectl(cluster, tmp_path)
    listing = ["get", "pods", "-n", "opencost", "-l", cluster.place.selector]
    table = kubectl.out(*listing, "-o", "wide").splitlines()
    assert table[0].split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[:4] == [cluster.place.pod, "2/2", "Running", "0"]
    pods = json.loads(kubectl.out(*listing, "-o", "json"))["items"]
    ports = {c["name"]: c["ports"][0]["containerPort"] for c in pods[0]["spec"]["containers"]}
    assert ports == {"opencost": 9003, "opencost-ui": 9090}


def test_selectors_leave_out_other_pods(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = Kubectl(cluster, tmp_path, "admin")

    def names(*selection: str) -> list[str]:
        return kubectl.out("get", "pods", "-A", "-o", "name", *selection).split()

    assert len(names()) == 4
    assert len(names("-l", "app in (hopsworks, monitoring)")) == 2
    assert len(names("-l", "!app")) == 1
    assert len(names("-l", "app!=hopsworks,app")) == 2
    assert names("--field-selector", f"metadata.name={cluster.place.pod}") == names("-l", "!app")
    assert names("-l", "app=nothing") == []


def test_kubectl_execs_wget_and_gets_what_the_proxy_gives(
    cluster: Cluster, tmp_path: Path, now: datetime
) -> None:
    hour = an_hour_ago(now)
    executed = Kubectl(cluster, tmp_path).out(*in_pod(cluster, *wget(hour)))
    proxied = Kubectl(cluster, tmp_path, "proxy").out(
        "get", "--raw", raw_path(cluster, target_of(hour))
    )
    assert executed.strip() == proxied.strip()
    assert json.loads(executed)["code"] == 200


def test_exit_codes_and_missing_programs_reach_kubectl(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = Kubectl(cluster, tmp_path)
    url = "http://127.0.0.1:9003/allocation?window=bogus"
    failed = kubectl(*in_pod(cluster, "wget", "-q", "-O", "-", url))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "wget: server returned error: HTTP/1.1 400 Bad Request" in failed.stderr
    assert "command terminated with exit code 1" in failed.stderr
    missing = kubectl(*in_pod(cluster, "curl", "-s", url))
    assert missing.returncode == 1
    assert 'exec: "curl": executable file not found in $PATH' in missing.stderr


def test_the_raw_proxy_shows_failures_and_knows_one_port(cluster: Cluster, tmp_path: Path) -> None:
    kubectl = Kubectl(cluster, tmp_path, "proxy")
    cluster.faults.add("error_500", times=1)
    failed = kubectl("get", "--raw", raw_path(cluster, "/allocation?window=yesterday"))
    assert failed.returncode == 1
    assert "InternalError" in failed.stderr
    other = kubectl("get", "--raw", raw_path(cluster, "/healthz", port="9004"))
    assert "is forbidden" in other.stderr  # resourceNames names one port


def test_can_i_answers_what_the_role_allows(cluster: Cluster, tmp_path: Path) -> None:
    executor = Kubectl(cluster, tmp_path)
    here = ("-n", "opencost")
    assert executor.out("auth", "can-i", "create", "pods", "--subresource=exec", *here) == "yes\n"
    assert executor("auth", "can-i", "delete", "pods", *here).stdout == "no\n"
    assert executor("auth", "can-i", "list", "pods", "-n", "default").stdout == "no\n"
    proxy = Kubectl(cluster, tmp_path, "proxy")
    service = f"services/{cluster.place.service}"
    ask = ("auth", "can-i", "get", "--subresource=proxy", *here)
    assert proxy.out(*ask, f"{service}:9003") == "yes\n"
    assert proxy(*ask, f"{service}:9004").stdout == "no\n"


def test_refusals_read_as_rbac_writes_them(cluster: Cluster, tmp_path: Path) -> None:
    refused = Kubectl(cluster, tmp_path)("get", "pods", "-A")
    assert refused.returncode == 1
    assert (
        'pods is forbidden: User "system:serviceaccount:opencost:hopsmeter-exec" cannot list '
        'resource "pods" in API group "" at the cluster scope'
    ) in refused.stderr
    lacks_create = Kubectl(cluster, tmp_path, "exec-get-only")(*in_pod(cluster, "true"))
    assert 'cannot create resource "pods/exec"' in lacks_create.stderr


def test_a_client_certificate_opens_until_it_expires(cluster: Cluster, tmp_path: Path) -> None:
    good = Kubectl(cluster, tmp_path, credential="certificate")
    assert good.out(*in_pod(cluster, "echo", "hello")) == "hello\n"
    expired = Kubectl(cluster, tmp_path, expires_in=timedelta(seconds=-1))
    done = expired("get", "pods", "-n", "opencost")
    assert done.returncode == 1
    assert "You must be logged in to the server" in done.stderr


def test_kubectl_reads_the_version_of_each_cluster(cluster: Cluster, tmp_path: Path) -> None:
    assert "Server Version: v1.36.2" in Kubectl(cluster, tmp_path).out("version")
    assert "kube-system" in Kubectl(cluster, tmp_path, "admin").out("get", "ns")
    assert "opencost" in Kubectl(cluster, tmp_path, "admin").out("get", "svc", "-n", "opencost")
