"""From the text of a kubeconfig to the one cluster, user and context that it is taken for."""

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime

from core.clusters.kubeconfig.credentials import (
    check_authorities,
    check_dates,
    check_expiry,
    check_token,
    pem_text,
    read_certificates,
    read_key,
    token_expiry,
)
from core.clusters.kubeconfig.fields import check_fields, secret, text, unknown_field
from core.clusters.kubeconfig.refusal import refuse, shown_name
from core.clusters.kubeconfig.server import check_server
from core.clusters.kubeconfig.strict_yaml import Listing, Section, parse
from core.errors import KubeconfigRefused
from core.secret import Secret, bare_refusals

ENTRIES_MAX = 500
NAMES_SHOWN_MAX = 5
_NAME = "hopsmeter"
_SERVER_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE_ACCOUNT = "Use the token of a service account, or a client certificate with its key."


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One cluster and one way to be known there: a token, or a client certificate with its key."""

    server: str
    ca_pem: str
    token: Secret | None
    client_cert_pem: str | None
    client_key_pem: Secret | None
    tls_server_name: str | None
    namespace: str | None
    expires_at: datetime | None

    def minimal_document(self) -> Secret:
        """Return the kubeconfig that is kept (JSON, so YAML): exactly what was read, no more."""
        cluster = {
            "server": self.server,
            "certificate-authority-data": _b64(self.ca_pem.encode()),
            "tls-server-name": self.tls_server_name,
        }
        context = {"cluster": _NAME, "user": _NAME, "namespace": self.namespace}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": _NAME, "cluster": _given(cluster)}],
            "contexts": [{"name": _NAME, "context": _given(context)}],
            "current-context": _NAME,
        }
        return Secret(json.dumps({**document, "users": [{"name": _NAME, "user": self._user()}]}))

    def _user(self) -> dict[str, str]:
        if self.token is not None:
            return {"token": self.token.reveal_text()}
        assert self.client_cert_pem is not None
        assert self.client_key_pem is not None
        return {
            "client-certificate-data": _b64(self.client_cert_pem.encode()),
            "client-key-data": _b64(self.client_key_pem.reveal()),
        }


def read_kubeconfig(
    document: Secret | str | bytes,
    *,
    now: datetime,
    context: str | None = None,
    allow_loopback: bool = False,
) -> Kubeconfig:
    """Read the current (or named) context strictly; KubeconfigRefused names the fault.

    `allow_loopback` is for the sandbox, whose clusters live on this host.
    """
    document = Secret(document)  # from here on no local shows it
    return _read(document, now, context, allow_loopback)


@bare_refusals
def _read(
    document: Secret, now: datetime, context_name: str | None, allow_loopback: bool
) -> Kubeconfig:
    top = _top(document)
    chosen = _chosen_context(top, context_name)
    cluster = _entry(top, "clusters", text(chosen, "cluster"))
    user = _entry(top, "users", text(chosen, "user"))
    for section, kind in ((user, "user"), (cluster, "cluster"), (chosen, "context")):
        check_fields(section, kind)
    server = check_server(text(cluster, "server") or "", allow_loopback=allow_loopback)
    authorities = secret(cluster, "certificate-authority-data")
    if authorities is None:
        raise refuse(
            "no-ca",
            "It has no certificate-authority-data, so the server could be anybody.",
            "Embed the CA that signed the server's certificate, a public one too.",
        )
    trusted = read_certificates(authorities, "certificate-authority-data")
    check_authorities(trusted, now)
    credentials = _credentials(user, now)
    check_expiry(credentials.expires_at, now)
    return Kubeconfig(
        server=server,
        ca_pem=pem_text(trusted),
        token=credentials.token,
        client_cert_pem=credentials.cert_pem,
        client_key_pem=credentials.key_pem,
        tls_server_name=_checked(cluster, "tls-server-name", _SERVER_NAME),
        namespace=_checked(chosen, "namespace", _NAMESPACE),
        expires_at=credentials.expires_at,
    )


def _top(document: Secret) -> Section:
    top = parse(document)
    if not isinstance(top, Section) or "clusters" not in top or "contexts" not in top:
        raise _no_kubeconfig()
    check_fields(top, "top")
    if (text(top, "apiVersion") or "v1", text(top, "kind") or "Config") != ("v1", "Config"):
        raise _no_kubeconfig()
    return top


def _no_kubeconfig() -> KubeconfigRefused:
    return refuse(
        "not-a-kubeconfig",
        "It is no Kubernetes Config of version v1 with clusters and contexts.",
        "Give what `kubectl config view --raw --flatten --minify` prints.",
    )


def _chosen_context(top: Section, name: str | None) -> Section:
    names = list(_entries(top, "contexts"))
    wanted = name or text(top, "current-context") or (names[0] if len(names) == 1 else None)
    if wanted is None or wanted not in names:
        known = ", ".join(shown_name(each) for each in names[:NAMES_SHOWN_MAX])
        raise refuse(
            "unknown-context",
            f"It has no context {shown_name(wanted)}." if wanted else "It has no current context.",
            f"Name one that it has: {known or 'it has none'}.",
        )
    return _entry(top, "contexts", wanted)


def _entry(top: Section, kind: str, name: str | None) -> Section:
    """Return the section of the one entry of that name in `clusters`, `users` or `contexts`."""
    inner = kind.removesuffix("s")
    found = _entries(top, kind).get(name or "")
    if found is None:
        raise refuse(
            f"unknown-{inner}",
            f"The context names no {inner} that it has.",
            "Give one context with its cluster and user.",
        )
    for field in found.names():
        if field not in {"name", inner}:
            raise unknown_field(found, field)
    section = found.get(inner)
    if section is None and inner == "user":
        return Section(f"{found.path}.user", {})
    if not isinstance(section, Section):
        raise _wrong_type(f"{found.path}.{inner}")
    return section


def _entries(top: Section, kind: str) -> dict[str, Section]:
    """Return all entries by name: two of one name are a fault even if neither is chosen."""
    listing = top.get(kind)
    if listing is None:
        return {}
    if not isinstance(listing, Listing) or len(listing.items) > ENTRIES_MAX:
        raise _wrong_type(kind)
    entries: dict[str, Section] = {}
    for item in listing.items:
        name = text(item, "name") if isinstance(item, Section) else None
        if name is None or not isinstance(item, Section):
            raise _wrong_type(kind)
        if name in entries:
            raise refuse(
                "duplicate-name",
                f"Two of its {kind} are called {shown_name(name)}.",
                "Keep the one you mean.",
            )
        entries[name] = item
    return entries


def _wrong_type(path: str) -> KubeconfigRefused:
    return refuse(
        "wrong-type",
        f"{path} does not hold what it should.",
        "Give what `kubectl config view --raw --flatten --minify` prints.",
    )


@dataclass(frozen=True, slots=True)
class _Credentials:
    expires_at: datetime | None
    token: Secret | None = None
    cert_pem: str | None = None
    key_pem: Secret | None = None


def _credentials(user: Section, now: datetime) -> _Credentials:
    token = secret(user, "token")
    certificate = secret(user, "client-certificate-data")
    key = secret(user, "client-key-data")
    if token is not None and (certificate is not None or key is not None):
        raise refuse(
            "two-credentials",
            "It has a token and a client certificate, and the server would choose between them.",
            "Keep one of them.",
        )
    if token is not None:
        check_token(token)
        return _Credentials(token_expiry(token), token=token)
    if certificate is None or key is None:
        raise refuse(
            "no-credentials",
            "It has no token, and no client certificate with its key: the daemon would come "
            "unnamed.",
            _SERVICE_ACCOUNT,
        )
    chain = read_certificates(certificate, "client-certificate-data")
    check_dates(chain[0], now)
    return _Credentials(
        chain[0].not_valid_after_utc, cert_pem=pem_text(chain), key_pem=read_key(key, chain[0])
    )


def _checked(section: Section, name: str, pattern: re.Pattern[str]) -> str | None:
    value = text(section, name)
    if value is not None and not pattern.fullmatch(value):
        raise refuse("wrong-type", f"`{name}` is no such name.", "Correct it, or remove it.")
    return value


def _given(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
