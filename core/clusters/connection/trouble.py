"""What went wrong in a visit, in an operator's words: at which step, what happened, the cure."""

import json
import re
import socket
import ssl
from collections.abc import Iterator

import urllib3.exceptions
import websocket
from urllib3.exceptions import NewConnectionError

from core.clusters.connection import rules

SHORT_CHARS = 300
GUIDE = "docs/cluster-setup.md"

_CERTIFICATE_FAULTS = {
    9: ("its certificate is not valid yet", "Compare this host's clock with the cluster's."),
    10: (
        "its certificate has expired",
        "Renew the API server's certificate, or check this host's clock.",
    ),
    18: ("its certificate is self-signed and not the CA in the kubeconfig", ""),
    19: ("its certificate comes from another CA than the one in the kubeconfig", ""),
    20: ("its certificate comes from another CA than the one in the kubeconfig", ""),
    21: ("its certificate comes from another CA than the one in the kubeconfig", ""),
    62: (
        "its certificate is for another host name",
        "Use an address that the certificate names, or set tls-server-name in the kubeconfig.",
    ),
    64: (
        "its certificate is not for this IP address",
        "Use a name that the certificate has, or set tls-server-name in the kubeconfig.",
    ),
}
_CURE_CA = "Put the cluster's own CA into the kubeconfig (certificate-authority-data)."
CURE_CONNECT = "Check that the API server runs and that this host may reach it (firewall, VPN)."


class Trouble(Exception):
    """A step failed; `transient` says whether trying again at once may help."""

    def __init__(
        self,
        step: str,
        message: str,
        cure: str = "",
        *,
        transient: bool = False,
        timeout: bool = False,
    ) -> None:
        self.step, self.message, self.cure = step, message, cure
        self.transient, self.timeout = transient, timeout
        super().__init__(message)


def short(text: str | bytes) -> str:
    """Return a foreign text on one line, without control characters, cut to SHORT_CHARS."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:4000]).split())
    return text if len(text) <= SHORT_CHARS else text[: SHORT_CHARS - 1] + "…"


def of_network(error: BaseException, step: str) -> Trouble:
    """Name what stopped a connection: TLS by its reason, a refusal, a name, a silence."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, ssl.SSLCertVerificationError):
            return _of_certificate(link)
    for link in chain:
        if isinstance(link, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return _cut(step)
        if isinstance(link, ssl.SSLError) and "timed out" not in str(link):
            return Trouble(
                "tls",
                f"the API server broke off the TLS handshake: {short(getattr(link, 'reason', None) or str(link))}.",
                "Check that the address is that of the Kubernetes API, and the client certificate.",
            )
        if isinstance(link, socket.gaierror):
            return Trouble(
                "connect",
                f"the API server's name cannot be resolved ({short(link.strerror or '')}).",
                "Check the server's name in the kubeconfig, and this host's DNS.",
                transient=link.errno == socket.EAI_AGAIN,
            )
    return _of_socket(chain, step)


def _of_socket(chain: list[BaseException], step: str) -> Trouble:
    silent = (TimeoutError, urllib3.exceptions.TimeoutError, websocket.WebSocketTimeoutException)
    for link in chain:
        if isinstance(link, ConnectionRefusedError):
            return Trouble(
                "connect", "the API server refuses the connection.", CURE_CONNECT, transient=True
            )
    # Only now: urllib3 counts its every failure to connect among the timeouts.
    for link in chain:
        if isinstance(link, silent) and not isinstance(link, NewConnectionError):
            return Trouble(
                step, "the API server does not answer in time.", CURE_CONNECT, timeout=True
            )
    for link in chain:
        if isinstance(link, OSError) and link.errno and not isinstance(link, ConnectionError):
            return Trouble("connect", f"{short(link.strerror or str(link))}.", CURE_CONNECT)
    return _cut(step)


def _cut(step: str) -> Trouble:
    return Trouble(
        step,
        "the connection was cut before the answer was complete.",
        "If it stays so, look at what stands between this host and the API server.",
        transient=True,
    )


def _of_certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    what, cure = _CERTIFICATE_FAULTS.get(
        error.verify_code, (f"its certificate is refused: {short(error.verify_message)}", "")
    )
    return Trouble("tls", f"the API server is not trusted: {what}.", cure or _CURE_CA)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk causes, contexts, and the reasons that urllib3 keeps inside its own errors."""
    todo, seen = [error], set[int]()
    while todo:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        inner = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
        todo += [item for item in inner if isinstance(item, BaseException)]


def status_message(body: bytes) -> str | None:
    """Return the message of a Kubernetes Status, or None if the body is something else."""
    try:
        status = json.loads(body)
    except ValueError:
        return None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return None
    return short(str(status.get("message", "")))


def of_status(status: int, body: bytes, rule: rules.Rule, step: str) -> Trouble:
    """Name what an HTTP status of the API server means for the call that `rule` allows."""
    said = status_message(body)
    said = short(body) if said is None else said
    if status == 401:
        return Trouble(
            "credentials",
            f"the API server refuses the credentials (401{': ' + said if said else ''}).",
            "The token has expired or was revoked: make a new one, then"
            " `hopsmeter cluster edit NAME --kubeconfig FILE`.",
        )
    if status == 403:
        return _forbidden(said, rule)
    where = f"the API server answers {status}{': ' + said if said else ''}."
    transient = status in (429, 500, 502, 503, 504)
    return Trouble(step, where, CURE_CONNECT if transient else "", transient=transient)


def _forbidden(said: str, rule: rules.Rule) -> Trouble:
    if rule.resource == "pods/exec" and re.search(r"is forbidden:\s*$", said):
        # Tried on 1.35.6: the refusal for a missing `create` gives no reason at all.
        return Trouble(
            "permission",
            "exec is forbidden and the API server gives no reason: Kubernetes 1.35 and newer ask"
            " for the verb create beside get on pods/exec.",
            f"Its Role needs: {rule.text()} (see {GUIDE}).",
        )
    return Trouble(
        "permission",
        f"forbidden (403): {said or 'no reason given'}.".replace("..", "."),
        f"If a rule is missing, it is: {rule.text()} (see {GUIDE}).",
    )
