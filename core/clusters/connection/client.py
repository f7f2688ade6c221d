"""The Kubernetes client of one visit, in the visit's own process.

Made from the minimal kubeconfig by hand, never by the library's loader, which runs programs and
reads files that a kubeconfig names. CA, certificate and key, which the TLS library takes only as
files, are memfds: they have no name in any file system and end with the process, kill -9
included.
"""

import base64
import json
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import urllib3.exceptions
import websocket
from kubernetes.client import ApiClient, ApiException, Configuration

from core.clock import monotonic_s, utc_now
from core.clusters.connection import rules, trouble
from core.clusters.connection.trouble import Trouble

SMALL_MAX_BYTES = 32 * 1024 * 1024
"""For the API server's own answers: a list of pods, a status."""
CHUNK_BYTES = 256 * 1024
CURE_LARGE = (
    "No usual hour is that large: look at what OpenCost answers by hand; the setting"
    " answer_max_mib raises the limit."
)
SUBPROTOCOLS = "v5.channel.k8s.io,v4.channel.k8s.io"


@dataclass(frozen=True)
class Credentials:
    """What the kubeconfig says, decoded."""

    server: str
    tls_server_name: str | None
    ca_pem: bytes = field(repr=False)
    token: str = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)

    @property
    def authorization(self) -> str:
        return f"Bearer {self.token}" if self.token else ""


@dataclass(frozen=True)
class Reply:
    """An answer, and when by our clock it was asked for and began to arrive."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_at: datetime
    answered_at: datetime

    def json(self, step: str) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            message = "the API server's answer is no JSON; is something else at this address?"
            raise Trouble(step, message, trouble.CURE_CONNECT) from None


def read_credentials(document: bytes) -> Credentials:
    """Read the minimal document that `Kubeconfig.minimal_document` wrote (JSON, one of each)."""
    try:
        top = json.loads(document)
        cluster, user = top["clusters"][0]["cluster"], top["users"][0]["user"]
        return Credentials(
            server=str(cluster["server"]),
            tls_server_name=cluster.get("tls-server-name"),
            ca_pem=base64.b64decode(cluster["certificate-authority-data"], validate=True),
            token=str(user.get("token", "")),
            certificate_pem=base64.b64decode(user.get("client-certificate-data", "")),
            key_pem=base64.b64decode(user.get("client-key-data", "")),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        pass
    raise Trouble(
        "kubeconfig",
        "the stored kubeconfig cannot be read.",
        "Give it again: `hopsmeter cluster edit NAME --kubeconfig FILE`.",
    )


class KubeClient:
    """Calls to one API server. Every wait is bounded here and, harder, from outside."""

    def __init__(
        self, credentials: Credentials, connect_s: float, announce: Callable[[str], None]
    ) -> None:
        assert credentials.server.startswith("https://"), "the strict reader takes nothing else"
        self.credentials, self.connect_s, self._announce = credentials, connect_s, announce
        ca, certificate, key = _hidden_file(credentials.ca_pem), None, None
        if credentials.certificate_pem:
            certificate = _hidden_file(credentials.certificate_pem)
            key = _hidden_file(credentials.key_pem)
        try:
            self.tls = ssl.create_default_context(cafile=ca)
            if certificate:
                self.tls.load_cert_chain(certificate, key)
        except (ssl.SSLError, ValueError) as error:
            message = f"its CA, certificate or key is not usable: {trouble.short(str(error))}."
            raise Trouble("kubeconfig", message, "Make the kubeconfig anew.") from None
        configuration = Configuration(
            host=credentials.server,
            ssl_ca_cert=ca,
            cert_file=certificate,
            key_file=key,
            tls_server_name=credentials.tls_server_name,
            # False is neither retries nor redirects: a redirect would carry our token, or let
            # what answers inside a cluster send this host wherever it likes.
            retries=False,
        )
        self._answered = False
        self._api = ApiClient(configuration)
        self._headers = {"accept": "application/json", "user-agent": "hopsmeter"}
        if credentials.token:
            self._headers["authorization"] = credentials.authorization

    def call(
        self,
        path: str,
        step: str,
        deadline_s: float,
        *,
        body: dict[str, Any] | None = None,
        size_max_bytes: int = SMALL_MAX_BYTES,
    ) -> Reply:
        """GET, or POST where there is a body, and return the answer with whatever status."""
        # Until it has answered once, what hangs is the way there.
        where = step if self._answered else "connect"
        self._announce(where)
        left_s, asked_at = max(deadline_s - monotonic_s(), 0.001), utc_now()
        try:
            response = self._api.call_api(
                "GET" if body is None else "POST",
                self.credentials.server + path,
                header_params=dict(self._headers),
                body=body,
                _request_timeout=(min(self.connect_s, left_s), left_s),
            ).response
            answered_at = utc_now()
            self._answered, where = True, step
            self._announce(step)
            with response:
                data = _read(response, size_max_bytes, step)
                return Reply(response.status, response.headers, data, asked_at, answered_at)
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise trouble.of_network(error, where) from error

    def websocket(
        self, path: str, query: list[tuple[str, str]], deadline_s: float, rule: rules.Rule
    ) -> Any:
        """Open a websocket; the caller ends it with `shutdown()`.

        Opened here and not by the library's `stream`, which follows redirects with our token and
        waits without limit.
        """
        options: dict[str, Any] = {"context": self.tls}
        if self.credentials.tls_server_name:
            options["server_hostname"] = self.credentials.tls_server_name
        connection: Any = websocket.WebSocket(sslopt=options, skip_utf8_validation=True)
        header = [f"sec-websocket-protocol: {SUBPROTOCOLS}", "user-agent: hopsmeter"]
        if self.credentials.token:
            header.append(f"authorization: {self.credentials.authorization}")
        url = "wss" + self.credentials.server.removeprefix("https") + path + "?" + urlencode(query)
        left_s = max(deadline_s - monotonic_s(), 0.001)
        self._announce("connect")
        try:
            connection.connect(
                url, header=header, timeout=min(self.connect_s, left_s), redirect_limit=0
            )
        except websocket.WebSocketBadStatusException as error:
            problem = trouble.of_status(error.status_code, error.resp_body or b"", rule, "exec")
            # The pod that an earlier ask found has been replaced: look again.
            problem.transient |= error.status_code == 404
            raise problem from None
        except (websocket.WebSocketException, OSError) as error:
            raise trouble.of_network(error, "connect") from error
        self._announce("exec")
        return connection

    def hide(self, text: str) -> str:
        """Take our token out of a text, should a cluster ever send it back."""
        token = self.credentials.token
        return text.replace(token, "(token)") if token else text


def _read(response: Any, size_max_bytes: int, step: str) -> bytes:
    data = bytearray()
    while chunk := response.read(CHUNK_BYTES):
        data += chunk
        if len(data) > size_max_bytes:
            raise too_large(step, size_max_bytes)
    return bytes(data)


def too_large(step: str, size_max_bytes: int) -> Trouble:
    return Trouble(
        step,
        f"the answer is larger than {size_max_bytes / 1024 / 1024:.0f} MiB and was not read on.",
        CURE_LARGE,
    )


def _hidden_file(content: bytes) -> str:
    """Return a path to `content` that only this process can open, and only while it lives."""
    fd = os.memfd_create("hopsmeter", os.MFD_CLOEXEC)
    os.write(fd, content)
    return f"/proc/self/fd/{fd}"
