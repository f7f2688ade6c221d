"""One GET of OpenCost, by either transport."""

import json
import re
from typing import Any, Protocol
from urllib.parse import quote

from core.clock import monotonic_s
from core.clusters.connection import clocks, pods, rules, trouble
from core.clusters.connection import exec as execute
from core.clusters.connection.client import KubeClient
from core.clusters.connection.trouble import Trouble, short
from core.clusters.connection.wire import Open

TOOL_SHARE = 0.9
"""A client that gives up does not end the program in the pod: it must end by itself, and earlier,
or hung ones pile up there."""
CURE_OPENCOST = "Look at OpenCost's logs; its Prometheus may be away or slow."


class Transport(Protocol):
    def get(self, path: str, deadline_s: float) -> bytes | bytearray:
        """Return the body of a 200; everything else is Trouble."""

    def forget(self) -> None:
        """Look everything up anew next time."""


class ExecTransport:
    """wget, or curl where only that exists, in the OpenCost pod."""

    def __init__(self, client: KubeClient, opening: Open) -> None:
        self._client, self._opening = client, opening
        self._place: pods.Place | None = None
        self.tool = "wget"

    def forget(self) -> None:
        self._place = None

    def find(self, deadline_s: float) -> pods.Place:
        if self._place is None:
            o, pod = self._opening, self.find_pod(deadline_s)
            self._place = pods.choose_container(pod, o.port, o.container, o.namespace)
        return self._place

    def find_pod(self, deadline_s: float) -> Any:
        o = self._opening
        return pods.find_pod(self._client, o.namespace, o.selector, deadline_s)

    def get(self, path: str, deadline_s: float) -> bytes | bytearray:
        place = self.find(deadline_s)
        outcome = self._run(place, path, deadline_s)
        if outcome.missing and self.tool == "wget":
            self.tool = "curl"
            outcome = self._run(place, path, deadline_s)
        if outcome.missing:
            self.tool = "wget"
            raise _no_tool(place)
        if outcome.code == 0:
            return outcome.stdout
        if outcome.code is None:
            what = f"the container runtime could not start {self.tool}: {outcome.said}"
            raise Trouble("exec", what, "See the events of the pod and of its node.")
        raise _of_tool(self.tool, outcome, self._opening.port)

    def _run(self, place: pods.Place, path: str, deadline_s: float) -> execute.Outcome:
        url = f"http://127.0.0.1:{self._opening.port}{path}"
        give_up_s = max(1, int((deadline_s - monotonic_s()) * TOOL_SHARE))
        argv = tool_argv(self.tool, url, give_up_s)
        limit = self._opening.size_max_bytes
        return execute.run(self._client, place, argv, deadline_s, limit)


def tool_argv(tool: str, url: str, give_up_s: int) -> list[str]:
    """Return the program's arguments; proxies of the pod's environment are switched off.

    busybox wget obeys http_proxy even where no_proxy names the host, hence `-Y off`.
    """
    if tool == "curl":
        common = ["curl", "-sS", "--max-time", str(give_up_s), "--noproxy", "*"]
        return [*common, "--fail-with-body", url]
    return ["wget", "-q", "-T", str(give_up_s), "-Y", "off", "-O", "-", url]


class ProxyTransport:
    """The API server's service proxy: one GET, OpenCost's own status and error body."""

    def __init__(self, client: KubeClient, opening: Open) -> None:
        self._client, self._opening = client, opening
        name = rules.service_name(opening.service, opening.port)
        namespace = quote(opening.namespace, safe="")
        self._base = f"/api/v1/namespaces/{namespace}/services/{quote(name, safe=':')}/proxy"
        self._compared = False

    def forget(self) -> None:
        self._compared = False

    def get(self, path: str, deadline_s: float) -> bytes:
        o = self._opening
        self._compare_clocks(deadline_s)
        reply = self._client.call(
            self._base + path, "proxy", deadline_s, size_max_bytes=o.size_max_bytes
        )
        if reply.status == 200:
            return reply.body
        if trouble.status_message(reply.body) is not None:
            raise self._of_api_server(reply.status, reply.body)
        raise Trouble(
            "opencost",
            f"OpenCost answers {reply.status}: {_opencost_message(reply.body)}",
            CURE_OPENCOST,
            transient=reply.status in (502, 503, 504),
        )

    def _compare_clocks(self, deadline_s: float) -> None:
        """Look once a visit, as the other transport does when it looks for the pod."""
        if not self._compared:
            # Whatever it answers, it says when; the Date of a proxied answer is OpenCost's own.
            clocks.require_not_ahead(self._client.call(clocks.PATH, "clock", deadline_s))
            self._compared = True

    def _of_api_server(self, status: int, body: bytes) -> Trouble:
        o = self._opening
        rule = rules.use_service_proxy(o.namespace, o.service, o.port)
        problem = trouble.of_status(status, body, rule, "proxy")
        if status == 404:
            problem.cure = (
                "Name the Service and its port: `hopsmeter cluster edit NAME --service … --port …`."
            )
        elif status == 503:
            problem.cure = (
                "Is the OpenCost pod ready, and may the API server reach it (NetworkPolicy)?"
                " If not, use the transport exec."
            )
        return problem


def _no_tool(place: pods.Place) -> Trouble:
    return Trouble(
        "exec",
        f"container {place.container} has neither wget nor curl.",
        "Name another container of the same pod that has one, such as opencost-ui"
        " (`hopsmeter cluster edit NAME --container`), or use the transport proxy.",
    )


_HTTP_STATUS = re.compile(r"(?:HTTP/\d(?:\.\d)?|returned error:) (\d{3})")
_CURL_REFUSED, _CURL_TIMEOUT, _CURL_HTTP = 7, 28, 22
_KILLED = (137, 143)


def _of_tool(tool: str, outcome: execute.Outcome, port: int) -> Trouble:
    """Name what wget or curl met."""
    said = outcome.stderr or f"exit {outcome.code} without a word"
    if status := _HTTP_STATUS.search(outcome.stderr):
        body = _opencost_message(bytes(outcome.stdout)) if outcome.stdout else said
        transient = status[1] in ("502", "503", "504")
        message = f"OpenCost answers {status[1]}: {body}"
        return Trouble("opencost", message, CURE_OPENCOST, transient=transient)
    if "refused" in said or (tool == "curl" and outcome.code == _CURL_REFUSED):
        return Trouble(
            "opencost",
            f"nothing listens on port {port} in the pod: {said}",
            "Is OpenCost just starting? Else name its port with --port.",
            transient=True,
        )
    if "timed out" in said or (tool == "curl" and outcome.code == _CURL_TIMEOUT):
        return Trouble(
            "opencost", f"OpenCost does not answer in time: {said}", CURE_OPENCOST, timeout=True
        )
    if outcome.code in _KILLED:
        return Trouble(
            "exec",
            f"{tool} was killed in the pod (exit {outcome.code}).",
            "The pod was replaced, or ran out of memory.",
            transient=True,
        )
    return Trouble("opencost", f"{tool} fails in the pod: {said}", CURE_OPENCOST)


def _opencost_message(body: bytes) -> str:
    """Return what OpenCost says in an error body: JSON's message, else the text."""
    try:
        answer = json.loads(body)
    except ValueError:
        return short(body) or "(no body)"
    message = answer.get("message") if isinstance(answer, dict) else None
    return short(str(message)) if message else short(body)
