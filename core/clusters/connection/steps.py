"""The way to OpenCost, step by step, for `hopsmeter cluster check`.

Each step says what it saw; the first that fails ends the walk, because nothing behind it can be
seen from here.
"""

import base64
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from core.clock import monotonic_s, utc_now
from core.clusters.connection import clocks, rules, trouble
from core.clusters.connection.client import Credentials, KubeClient, Reply
from core.clusters.connection.fetch import ExecTransport, ProxyTransport
from core.clusters.connection.trouble import Trouble, short
from core.clusters.connection.wire import Found, Open

EXPIRY_WARN = timedelta(days=14)
CLOCK_WARN_S = 5.0
HEALTH_PATH = "/healthz"
BOTH_VERBS_SINCE = (1, 35)
"""From this Kubernetes on, exec asks for create beside get."""

_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCESS_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_NO_RULE = rules.Rule("", "selfsubjectreviews", ("create",))


def ok(name: str, saw: str) -> Found:
    return Found(name, "ok", saw, "")


def warn(name: str, saw: str, cure: str) -> Found:
    return Found(name, "warn", saw, cure)


class Walk:
    def __init__(
        self, opening: Open, open_client: Callable[[], KubeClient], deadline_s: float
    ) -> None:
        self._opening, self._open_client = opening, open_client
        self._deadline_s = deadline_s
        self._version = (0, 0)

    def steps(self) -> Iterator[Found]:
        """Yield a Found per step; Trouble is the step that fails."""
        client = self._open_client()
        yield _kubeconfig(client.credentials)
        yield from self._tls(client)
        yield credentials_step(client, self._deadline_s)
        yield from self._version_and_clock(client)
        yield self._permission(client)
        if self._opening.transport == "exec":
            yield from self._exec(client)
        else:
            yield self._proxy(client)

    def _tls(self, client: KubeClient) -> Iterator[Found]:
        parts = urlsplit(client.credentials.server)
        address = (parts.hostname or "", parts.port or 443)
        begin_s = monotonic_s()
        try:
            with socket.create_connection(address, client.connect_s) as plain:
                took_ms = (monotonic_s() - begin_s) * 1000
                peer = plain.getpeername()
                yield ok("connect", f"{peer[0]} port {peer[1]} answers in {took_ms:.0f} ms.")
                name = client.credentials.tls_server_name or address[0]
                with client.tls.wrap_socket(plain, server_hostname=name) as secure:
                    certificate, version = secure.getpeercert() or {}, secure.version()
        except OSError as error:
            raise trouble.of_network(error, "tls") from error
        until = datetime.fromtimestamp(
            ssl.cert_time_to_seconds(str(certificate.get("notAfter"))), UTC
        )
        yield _expiring(
            "tls",
            f"{version}, trusted; the server's certificate is good",
            until,
            "Renew the API server's certificate.",
        )

    def _version_and_clock(self, client: KubeClient) -> Iterator[Found]:
        reply = client.call(clocks.PATH, "version", self._deadline_s)
        if reply.status == 200:
            said = reply.json("version")
            self._version = _version(said)
            yield ok("version", f"Kubernetes {short(str(said.get('gitVersion')))}.")
        else:
            yield warn("version", f"not told ({reply.status}).", "Nothing depends on it.")
        yield clock_step(reply)

    def _permission(self, client: KubeClient) -> Found:
        missing, later = list[rules.Rule](), list[rules.Rule]()
        for rule in self._rules():
            lacking = [verb for verb in rule.verbs if not self._may(client, rule, verb)]
            if lacking == ["create"] and (0, 0) < self._version < BOTH_VERBS_SINCE:
                later.append(rule)
            elif lacking:
                missing.append(rule)
        if missing:
            lines = " ".join(rule.text() for rule in missing)
            raise Trouble(
                "permission",
                f"not allowed: {'; '.join(_verbs(rule) for rule in missing)}.",
                f"Add to the Role: {lines} (see {trouble.GUIDE}).",
            )
        if later:
            saw = "enough for this Kubernetes; from 1.35 on exec asks for create as well."
            return warn("permission", saw, f"Before the upgrade, make it {later[0].text()}.")
        return ok("permission", f"{'; '.join(_verbs(rule) for rule in self._rules())}.")

    def _rules(self) -> list[rules.Rule]:
        o = self._opening
        if o.transport == "proxy":
            return [rules.use_service_proxy(o.namespace, o.service, o.port)]
        return [rules.list_pods(o.namespace), rules.exec_in_pods(o.namespace)]

    def _may(self, client: KubeClient, rule: rules.Rule, verb: str) -> bool:
        """Ask whether we may; where even asking is forbidden, the steps behind will tell."""
        resource, _, subresource = rule.resource.partition("/")
        attributes = {"namespace": rule.namespace, "verb": verb, "resource": resource}
        if subresource:
            attributes["subresource"] = subresource
        if rule.name:
            attributes["name"] = rule.name
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        reply = client.call(_ACCESS_REVIEW, "permission", self._deadline_s, body=body)
        if reply.status // 100 != 2:
            return True
        return bool((reply.json("permission").get("status") or {}).get("allowed"))

    def _exec(self, client: KubeClient) -> Iterator[Found]:
        transport = ExecTransport(client, self._opening)
        pod = transport.find_pod(self._deadline_s)
        yield ok("pod", f"{pod['metadata']['name']} in namespace {self._opening.namespace}.")
        place = transport.find(self._deadline_s)
        yield ok("container", f"{place.container}, image {short(place.image)}.")
        begin_s = monotonic_s()
        transport.get(HEALTH_PATH, self._deadline_s)
        took_ms = (monotonic_s() - begin_s) * 1000
        yield ok("exec", f"{transport.tool} reaches OpenCost in {took_ms:.0f} ms.")

    def _proxy(self, client: KubeClient) -> Found:
        begin_s = monotonic_s()
        ProxyTransport(client, self._opening).get(HEALTH_PATH, self._deadline_s)
        took_ms = (monotonic_s() - begin_s) * 1000
        name = rules.service_name(self._opening.service, self._opening.port)
        return ok("proxy", f"service {name} reaches OpenCost in {took_ms:.0f} ms.")


def _kubeconfig(credentials: Credentials) -> Found:
    user = "a token" if credentials.token else "a client certificate"
    return ok("kubeconfig", f"{credentials.server}, its own CA, {user}.")


def credentials_step(client: KubeClient, deadline_s: float) -> Found:
    """Ask whose the credentials are; that the answer is no 401 is what counts."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    reply = client.call(_REVIEW, "credentials", deadline_s, body=body)
    if reply.status == 401:
        problem = trouble.of_status(401, reply.body, _NO_RULE, "credentials")
        if (until := _expiry(client.credentials)) and until < utc_now():
            problem.message += f" They expired on {until:%Y-%m-%d %H:%M} UTC."
        raise problem
    if reply.status >= 500:
        saw = f"the API server failed when asked whose they are ({reply.status})."
        return warn("credentials", saw, "Look at the API server; the steps behind tell more.")
    who = _who(reply)
    until = _expiry(client.credentials)
    if until is None:
        return ok("credentials", f"{who}, without an end.")
    return _expiring(
        "credentials",
        who,
        until,
        "Make new ones, then `hopsmeter cluster edit NAME --kubeconfig FILE`.",
    )


def _who(reply: Reply) -> str:
    if reply.status // 100 == 2:
        user = (reply.json("credentials").get("status") or {}).get("userInfo") or {}
        return f"we are {short(str(user.get('username')))}; good"
    if reply.status == 404:
        said = "the API server does not say whose they are: Kubernetes before 1.28"
    elif reply.status == 403:
        said = "they may not ask who they are"
    else:
        said = f"who they are is not told: {reply.status}"
    return f"accepted ({said}); good"


def _verbs(rule: rules.Rule) -> str:
    return f"{', '.join(rule.verbs)} {rule.resource}{f' {rule.name}' if rule.name else ''}"


def _version(said: dict[str, object]) -> tuple[int, int]:
    """Read major and minor; providers write `35+`."""
    digits = [
        "".join(filter(str.isdecimal, str(said.get(part, "")))) for part in ("major", "minor")
    ]
    return (int(digits[0]), int(digits[1])) if all(digits) else (0, 0)


def _expiring(name: str, what: str, until: datetime, cure: str) -> Found:
    left = until - utc_now()
    if left <= timedelta(0):
        raise Trouble(name, f"{what} only until {until:%Y-%m-%d %H:%M} UTC, which is past.", cure)
    saw = f"{what} until {until:%Y-%m-%d} ({left.days} days)."
    return warn(name, saw, cure) if left < EXPIRY_WARN else ok(name, saw)


def _expiry(credentials: Credentials) -> datetime | None:
    """Return when the credentials end; None if they have no end that can be read."""
    if credentials.token:
        try:
            part = credentials.token.split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            return datetime.fromtimestamp(float(claims["exp"]), UTC)
        except (IndexError, KeyError, ValueError, TypeError, OverflowError):
            return None
    # Only checks pay for this import.
    from cryptography import x509

    return x509.load_pem_x509_certificate(credentials.certificate_pem).not_valid_after_utc


def clock_step(reply: Reply) -> Found:
    """Compare the clocks; so far ahead that visits ask nothing, ours is Trouble here as there."""
    clocks.require_not_ahead(reply)
    compared = clocks.compare(reply)
    if compared is None:
        saw = "the API server does not tell the time."
        return warn("clock", saw, "See to it that this host follows NTP; it is not compared.")
    if abs(compared.ahead_s) <= CLOCK_WARN_S:
        return ok("clock", f"within {CLOCK_WARN_S:.0f} s of ours.")
    where = "behind" if compared.ahead_s > 0 else "ahead of"
    saw = f"the API server's is {abs(compared.ahead_s):.0f} s {where} ours."
    return warn("clock", saw, "Let both hosts follow NTP: an hour is closed by the clock.")
