"""Real clients on the sandbox: kubectl as a program, and the Python client's exec."""

import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from kubernetes import client, config
from kubernetes.stream import stream

from sandbox.cluster import Cluster

KUBECTL = Path(sys.executable).with_name("kubectl")
RUN_S = 30


class Kubectl:
    """`kubectl("get", "pods")` with a kubeconfig of a role."""

    def __init__(self, cluster: Cluster, folder: Path, role: str = "exec", **how: Any) -> None:
        self._folder = folder
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(cluster.kubeconfig(role, **how))

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        cache = f"--cache-dir={self._folder / 'cache'}"
        return subprocess.run(
            [KUBECTL, f"--kubeconfig={self._kubeconfig}", cache, *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            env={"HOME": str(self._folder)},
        )

    def out(self, *arguments: str) -> str:
        """Run it; it must succeed."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


def target_of(hour: datetime, aggregate: str = "cluster,namespace") -> str:
    start = int(hour.timestamp())
    return f"/allocation?window={start},{start + 3600}&aggregate={aggregate}&includeIdle=true"


def wget(hour: datetime, timeout_s: float = 30) -> list[str]:
    url = f"http://127.0.0.1:9003{target_of(hour)}"
    return ["wget", "-q", "-T", str(timeout_s), "-Y", "off", "-O", "-", url]


def raw_path(cluster: Cluster, target: str, port: str = "9003") -> str:
    service = f"{cluster.place.service}:{port}"
    return f"/api/v1/namespaces/opencost/services/{service}/proxy{target}"


def bearer(cluster: Cluster, role: str = "admin") -> dict[str, str]:
    token = yaml.safe_load(cluster.kubeconfig(role))["users"][0]["user"]["token"]
    return {"authorization": f"Bearer {token}"}


@contextlib.contextmanager
def http_to(cluster: Cluster) -> Iterator[httpx.Client]:
    """Plain HTTPS to the API server, with every right."""
    with httpx.Client(
        base_url=cluster.api_url,
        verify=ssl.create_default_context(cadata=cluster.ca_pem),
        headers=bearer(cluster),
        trust_env=False,
        timeout=RUN_S,
    ) as client:
        yield client


@dataclass(frozen=True)
class Ran:
    subprotocol: str | None
    stdout: bytes
    stderr: bytes
    status: dict[str, Any] | None
    """What the error channel said, None where it stayed silent."""
    is_open: bool


@contextlib.contextmanager
def core_api(
    cluster: Cluster, folder: Path, role: str = "exec", kubeconfig: str = "", **how: Any
) -> Iterator[Any]:
    document = yaml.safe_load(kubeconfig or cluster.kubeconfig(role, **how))
    api = config.new_client_from_config_dict(  # type: ignore[no-untyped-call]  # the library has no types
        document, temp_file_path=str(folder)
    )
    with api:
        yield client.CoreV1Api(api)


def run_in_pod(
    core: Any,
    cluster: Cluster,
    argv: list[str],
    container: str | None = None,
    timeout_s: float = 10,
    **more: Any,
) -> Ran:
    """Exec through the Python client, reading the error channel ourselves."""
    connection = stream(
        core.connect_get_namespaced_pod_exec,
        cluster.place.pod,
        "opencost",
        command=argv,
        container=cluster.place.container if container is None else container,
        stdout=True,
        stderr=True,
        stdin=False,
        _preload_content=False,
        binary=True,
        **more,
    )
    try:
        connection.run_forever(timeout=timeout_s)
        is_open = connection.is_open()
        error = connection._channels.get(3, b"")
        return Ran(
            connection.subprotocol,
            connection._channels.get(1, b""),
            connection._channels.get(2, b""),
            json.loads(error) if error else None,
            is_open,
        )
    finally:
        connection.close()
        if connection.sock:
            connection.sock.shutdown()  # the library leaves it open once the server said goodbye


def an_hour_ago(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
