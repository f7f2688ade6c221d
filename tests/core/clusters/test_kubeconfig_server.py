"""Where a kubeconfig may send the daemon."""

import pytest

from core.clusters.kubeconfig.server import check_server
from core.errors import KubeconfigRefused


def fault(server: str, *, allow_loopback: bool = False) -> str:
    with pytest.raises(KubeconfigRefused) as caught:
        check_server(server, allow_loopback=allow_loopback)
    return caught.value.fault


@pytest.mark.parametrize(
    ("server", "kept"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://API.Example.com:6443/", "https://api.example.com:6443"),
        ("HTTPS://10.0.0.1:443", "https://10.0.0.1:443"),
        ("https://[2001:DB8::0:1]:6443", "https://[2001:db8::1]:6443"),
        ("https://kubernetes", "https://kubernetes"),
        ("https://rancher.example.com/k8s/clusters/c-m-abc12/", None),
        ("https://0.example.com", None),
        ("https://192.168.49.2:8443", None),
    ],
)
def test_servers_of_clusters_are_taken_in_one_spelling(server: str, kept: str | None) -> None:
    assert check_server(server, allow_loopback=False) == (kept or server.rstrip("/"))


@pytest.mark.parametrize(
    "server", ["http://api.example.com", "ftp://x", "api.example.com:6443", "//x", "", "file:///x"]
)
def test_servers_without_tls_are_refused(server: str) -> None:
    assert fault(server) == "plain-http"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[::169.254.169.254]",
        "100.100.100.200",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "METADATA",
    ],
)
def test_metadata_and_link_local_servers_are_refused_even_in_the_sandbox(host: str) -> None:
    assert fault(f"https://{host}:6443") == "link-local-server"
    assert fault(f"https://{host}", allow_loopback=True) == "link-local-server"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "a.localhost",
    ],
)
def test_loopback_servers_are_for_the_sandbox_alone(host: str) -> None:
    assert fault(f"https://{host}:6443") == "loopback-server"
    assert check_server(f"https://{host}:6443", allow_loopback=True).endswith(":6443")


@pytest.mark.parametrize(
    "server",
    [
        "https://",
        "https://:6443",
        "https://127.1",
        "https://2130706433",
        "https://0x7f.0.0.1",
        "https://0x7f000001",
        "https://0177.0.0.1",
        "https://localhost.",
        "https://0.0.0.0",
        "https://[::]",
        "https://[::",
        "https://224.0.0.1",
        "https://255.255.255.255",
        "https://[fe80::1%25eth0]",
        "https://a%2eb",
        "https://a..b",
        "https://x:0",
        "https://x:",
        "https://x:70000",
        "https://x:abc",
        "https://x?y",
        "https://x#y",
        "https://x/?",
        "https://x/../y",
        "https://x/%2e%2e",
        "https://x\\@y",
        "https://x y",
        "https://x\n.example.com",
        "https://exämple.com",
        "https://" + "a" * 600,
    ],
)
def test_servers_of_an_odd_spelling_are_refused(server: str) -> None:
    assert fault(server, allow_loopback=True) == "bad-server"


def test_a_name_in_the_address_is_basic_auth() -> None:
    assert fault("https://admin:hunter2@api.example.com") == "basic-auth"
    assert fault("https://api.example.com@169.254.169.254") == "basic-auth"
