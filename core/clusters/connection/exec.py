"""Run one program in a container and take its output as bytes.

The protocol: binary frames whose first byte is the channel; the last frame of the error channel
is a Status. The library's `stream` turns a missing program, a cut and a non-zero exit into text
that looks like an answer, so the frames are read here, and what ends without a Status of success
has failed.
"""

import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import websocket

from core.clock import monotonic_s
from core.clusters.connection import rules, trouble
from core.clusters.connection.client import KubeClient, too_large
from core.clusters.connection.pods import Place
from core.clusters.connection.trouble import Trouble, short

STDOUT, STDERR, ERROR = 1, 2, 3
SIDE_MAX_BYTES = 64 * 1024
"""Of stderr and of the status: more is thrown away."""
DRAIN_S = 5.0
"""After the status the server closes; one that does not has sent all that it will."""


@dataclass(frozen=True)
class Outcome:
    """`code` is None where the program never started; then `said` holds the runtime's reason."""

    code: int | None
    stdout: bytearray
    stderr: str
    said: str

    @property
    def missing(self) -> bool:
        """Whether the program is not in the container (runtimes say it in several ways)."""
        if self.code not in (None, 126, 127):
            return False
        text = f"{self.said} {self.stderr}".lower()
        return "not found" in text or "no such file" in text


def run(
    client: KubeClient, place: Place, argv: list[str], deadline_s: float, size_max_bytes: int
) -> Outcome:
    """Run `argv` (no shell) in the container, to its end."""
    path = f"/api/v1/namespaces/{quote(place.namespace, safe='')}/pods/{quote(place.pod, safe='')}"
    query = [("command", word) for word in argv]
    query += [("container", place.container), ("stdout", "true"), ("stderr", "true")]
    rule = rules.exec_in_pods(place.namespace)
    connection = client.websocket(path + "/exec", query, deadline_s, rule)
    try:
        channels = _read_channels(connection, deadline_s, size_max_bytes)
    finally:
        connection.shutdown()
    return _outcome(channels)


def _read_channels(connection: Any, deadline_s: float, size_max_bytes: int) -> dict[int, bytearray]:
    """Collect what each channel says until the server closes."""
    channels = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
    while True:
        left_s = max(deadline_s - monotonic_s(), 0.001)
        connection.settimeout(min(left_s, DRAIN_S) if channels[ERROR] else left_s)
        try:
            opcode, frame = connection.recv_data_frame(control_frame=True)
        except (websocket.WebSocketException, ssl.SSLError, OSError) as error:
            if "malloc failure" in str(error):
                raise MemoryError from error  # how OpenSSL says it
            if channels[ERROR]:
                return channels
            raise _broken(error, channels) from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return channels
        if opcode not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
            continue
        data = frame.data
        # Channel 255 is v5's "channel N is closed"; what ends the call is the server's close.
        if len(data) < 2 or data[0] not in channels:
            continue
        channel = channels[data[0]]
        if data[0] == STDOUT:
            if len(channel) + len(data) - 1 > size_max_bytes:
                raise too_large("exec", size_max_bytes)
        elif len(channel) > SIDE_MAX_BYTES:
            continue
        channel += memoryview(data)[1:]


def _broken(error: BaseException, channels: dict[int, bytearray]) -> Trouble:
    got = len(channels[STDOUT])
    if isinstance(error, websocket.WebSocketTimeoutException | TimeoutError):
        return Trouble(
            "exec",
            f"no more came after {got} bytes of the answer.",
            "OpenCost or its Prometheus is slow, or the API server froze; see the pod's logs.",
            timeout=True,
        )
    return Trouble(
        "exec",
        f"the connection was cut after {got} bytes of the answer.",
        "If it stays so, look at what stands between this host and the API server.",
        transient=True,
    )


def _outcome(channels: dict[int, bytearray]) -> Outcome:
    """Read the Status; none at all, or one that is no Status, is a failure."""
    stderr = short(bytes(channels[STDERR]))
    try:
        status: Any = json.loads(channels[ERROR])
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("status") not in ("Success", "Failure"):
        raise Trouble(
            "exec",
            "the call ended without an exit status, so the answer cannot be believed"
            + (f" (stderr: {stderr})." if stderr else "."),
            "If it stays so, restart the OpenCost pod, or look at the node's container runtime.",
            transient=True,
        )
    if status["status"] == "Success":
        return Outcome(0, channels[STDOUT], stderr, "")
    return Outcome(
        _exit_code(status), channels[STDOUT], stderr, trouble.short(str(status.get("message", "")))
    )


def _exit_code(status: dict[str, Any]) -> int | None:
    details = status.get("details") or {}
    for cause in details.get("causes") or []:
        if cause.get("reason") == "ExitCode":
            text = str(cause.get("message", ""))
            return int(text) if text.isdecimal() else None
    return None
