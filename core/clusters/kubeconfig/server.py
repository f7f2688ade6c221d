"""Which servers the daemon lets itself be sent to.

A kubeconfig is given by a person and followed by the daemon, so its server is a way to make the
daemon ask on somebody's behalf: the metadata services of clouds, and whatever listens on its own
loopback, are refused. Names are not resolved here; behind a name stands TLS with the cluster's
own CA, which no metadata service passes.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from core.clusters.kubeconfig.refusal import refuse, shown_name
from core.errors import KubeconfigRefused

URL_CHARS_MAX = 512
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOOPBACK_NAMES = {
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
}
_METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "instance-data",
    "instance-data.ec2.internal",
}
_METADATA_ADDRESSES = {
    ipaddress.ip_address("100.100.100.200"),  # Alibaba Cloud
    ipaddress.ip_address("168.63.129.16"),  # Azure
    ipaddress.ip_address("192.0.0.192"),  # Oracle Cloud
    ipaddress.ip_address("fd00:ec2::254"),  # AWS
}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")


def check_server(server: str, *, allow_loopback: bool) -> str:
    """Return the server's URL in one spelling, or raise KubeconfigRefused."""
    url = _split(server)
    if url.scheme != "https":
        raise refuse(
            "plain-http",
            "Its server is not https://, so the credentials would travel in clear.",
            "Give the https:// address of the API server.",
        )
    if url.username is not None or url.password is not None:
        raise refuse(
            "basic-auth", "Its server's address has a user name in it.", "Give the address alone."
        )
    path = url.path.rstrip("/")
    if url.query or url.fragment or "?" in server or "#" in server or not _PATH.fullmatch(path):
        raise _bad("has more than a host, a port and a plain path")
    if any(part in {".", ".."} for part in path.split("/")):
        raise _bad("has dots in its path")
    host = (url.hostname or "").lower()
    address = _address(host)
    if address is None:
        _check_name(host, allow_loopback=allow_loopback)
    else:
        _check_address(address, allow_loopback=allow_loopback)
    shown = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else host
    port = _port(url)
    return f"https://{shown}{'' if port is None else f':{port}'}{path}"


def _split(server: str) -> SplitResult:
    # urlsplit drops tabs and newlines and takes a backslash for a letter; other readers do not.
    if len(server) > URL_CHARS_MAX or re.search(r"[^\x21-\x7e]|\\", server):
        raise _bad("is too long or has characters that belong in no address")
    try:
        return urlsplit(server)
    except ValueError:
        pass
    raise _bad("cannot be read")


def _port(url: SplitResult) -> int | None:
    try:
        port = url.port
    except ValueError:
        port = 0
    if port == 0 or url.netloc.endswith(":"):
        raise _bad("has an impossible port")
    return port


def _address(host: str) -> _Address | None:
    if "%" in host:
        raise _bad("has a zone or an escape in its host")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    # The system's resolver takes 127.1, 0x7f.1 and 2130706433 for addresses.
    if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        raise _bad("is an address in an unusual spelling")
    return None


def _check_name(host: str, *, allow_loopback: bool) -> None:
    if not _HOST.fullmatch(host):
        raise _bad("has no proper host name")
    if host in _METADATA_NAMES:
        raise _link_local(host)
    if (host in _LOOPBACK_NAMES or host.endswith(".localhost")) and not allow_loopback:
        raise _loopback(host)


def _check_address(address: _Address, *, allow_loopback: bool) -> None:
    meant = _unwrapped(address)
    if meant.is_link_local or meant in _METADATA_ADDRESSES or address in _METADATA_ADDRESSES:
        raise _link_local(str(address))
    if (
        meant.is_unspecified
        or meant.is_multicast
        or meant == ipaddress.ip_address("255.255.255.255")
    ):
        raise _bad("is an address that no server has")
    if meant.is_loopback and not allow_loopback:
        raise _loopback(str(address))


def _unwrapped(address: _Address) -> _Address:
    """Return the IPv4 address that an IPv6 one carries, if it carries one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _IPV4_COMPATIBLE and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _bad(wrong: str) -> KubeconfigRefused:
    return refuse(
        "bad-server", f"Its server {wrong}.", "Give it like https://api.example.com:6443."
    )


def _link_local(host: str) -> KubeconfigRefused:
    return refuse(
        "link-local-server",
        f"Its server {shown_name(host)} is a link-local or cloud metadata address.",
        "Give the address of the API server itself.",
    )


def _loopback(host: str) -> KubeconfigRefused:
    return refuse(
        "loopback-server",
        f"Its server {shown_name(host)} is the host that reads it, not a cluster.",
        "Give the address under which the daemon's host reaches the API server.",
    )
