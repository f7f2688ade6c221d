"""TLS checks were off for the whole process because one cluster had its own certificate."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from core.clock import utc_now
from core.clusters.connection import ClusterAccess, Launcher, VisitLimits, visit
from core.clusters.kubeconfig import read_kubeconfig
from core.errors import ClusterFault, KubeconfigRefused
from core.secret import Secret
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.world import World
from tests.core.clusters.kubeconfigs import NOW, kubeconfig

LIMITS = VisitLimits(answer_s=10)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    one = Launcher()
    one.pid()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    specs = [ClusterSpec(name, namespaces=3) for name in ("eu-1", "us-1")]
    with World(clusters=specs) as world:
        yield world


def access(cluster: Cluster, authority_of: Cluster) -> ClusterAccess:
    """A way to one cluster with the authority that another one's kubeconfig names."""
    document = yaml.safe_load(cluster.kubeconfig("exec"))
    other = yaml.safe_load(authority_of.kubeconfig("exec"))
    field = "certificate-authority-data"
    document["clusters"][0]["cluster"][field] = other["clusters"][0]["cluster"][field]
    read = read_kubeconfig(json.dumps(document), now=utc_now(), allow_loopback=True)
    return ClusterAccess(cluster.name, read.minimal_document())


def ask(launcher: Launcher, to: ClusterAccess) -> bytes:
    with visit(to, LIMITS, launcher) as reach:
        return reach.get("/healthz")


@pytest.mark.parametrize("value", [True, "true", "yes", 1])
def test_a_kubeconfig_that_would_switch_checks_off_is_refused(value: object) -> None:
    with pytest.raises(KubeconfigRefused):
        _kept(kubeconfig(cluster={"insecure-skip-tls-verify": value}))


def test_what_is_kept_of_a_kubeconfig_cannot_switch_them_off() -> None:
    kept = _kept(kubeconfig(cluster={"insecure-skip-tls-verify": False})).reveal()
    assert b"insecure" not in kept
    assert b"certificate-authority-data" in kept


def _kept(document: dict[str, object]) -> Secret:
    return read_kubeconfig(json.dumps(document), now=NOW).minimal_document()


def test_each_cluster_is_trusted_by_its_own_authority_alone(
    launcher: Launcher, world: World
) -> None:
    here, there = world["eu-1"], world["us-1"]
    assert ask(launcher, access(here, authority_of=here)) == b""
    with pytest.raises(ClusterFault, match=r"tls|certificate"):
        ask(launcher, access(here, authority_of=there))


def test_asking_them_side_by_side_mixes_no_trust(launcher: Launcher, world: World) -> None:
    here, there = world["eu-1"], world["us-1"]
    good = [access(here, here), access(there, there)]
    bad = [access(here, there), access(there, here)]

    def works(to: ClusterAccess) -> bool:
        try:
            ask(launcher, to)
        except ClusterFault:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(works, (good + bad) * 3))
    assert found == [True, True, False, False] * 3
