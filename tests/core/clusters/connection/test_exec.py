"""What the frames of an exec mean; the transport as a whole is tried on the sandbox."""

import json
import time
from typing import Any

import pytest
import websocket

from core.clusters.connection import exec as execute
from core.clusters.connection.fetch import _of_tool, tool_argv
from core.clusters.connection.trouble import Trouble

SUCCESS = {"metadata": {}, "status": "Success"}
ABNF = websocket.ABNF


def failure(reason: str, message: str, *causes: dict[str, str]) -> dict[str, Any]:
    details = {"causes": list(causes)}
    return {"status": "Failure", "reason": reason, "message": message, "details": details}


class Scripted:
    """A websocket that says what it was told, then closes, breaks or hangs."""

    def __init__(
        self, *frames: bytes, end: str = "close", opcode: int = ABNF.OPCODE_BINARY
    ) -> None:
        self._frames, self._end, self._opcode = list(frames), end, opcode

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv_data_frame(self, *, control_frame: bool) -> tuple[int, Any]:
        assert control_frame
        if self._frames:
            data = self._frames.pop(0)
            return self._opcode, ABNF(1, 0, 0, 0, self._opcode, 0, data)
        if self._end == "hang":
            raise websocket.WebSocketTimeoutException
        if self._end == "cut":
            raise websocket.WebSocketConnectionClosedException
        return ABNF.OPCODE_CLOSE, None


def outcome_of(*frames: bytes, end: str = "close", limit: int = 10_000) -> execute.Outcome:
    deadline = time.monotonic() + 5
    return execute._outcome(execute._read_channels(Scripted(*frames, end=end), deadline, limit))


def out(text: str) -> bytes:
    return b"\x01" + text.encode()


def status(body: dict[str, Any]) -> bytes:
    return b"\x03" + json.dumps(body).encode()


def test_bytes_are_joined_across_frames_and_never_decoded() -> None:
    whole = "grüße €".encode()
    frames = [b"\x01" + whole[i : i + 1] for i in range(len(whole))]
    assert outcome_of(*frames, status(SUCCESS)).stdout == whole


def test_channels_are_kept_apart() -> None:
    got = outcome_of(out("data"), b"\x02warning", b"\xff\x01", b"\x01", b"", status(SUCCESS))
    assert got.stdout == b"data"
    assert (got.stderr, got.code) == ("warning", 0)


def test_a_close_without_a_status_is_a_failure() -> None:
    with pytest.raises(Trouble, match="without an exit status") as raised:
        outcome_of(out("looks complete"))
    assert raised.value.transient


def test_a_status_that_is_no_status_is_a_failure() -> None:
    for nonsense in (b"\x03{}", b"\x03null", b"\x03not json", b"\x03[]"):
        with pytest.raises(Trouble, match="without an exit status"):
            outcome_of(out("x"), nonsense)


def test_a_cut_is_a_failure_and_says_how_far_it_came() -> None:
    with pytest.raises(Trouble, match="cut after 4 bytes") as raised:
        outcome_of(out("data"), end="cut")
    assert raised.value.transient


def test_a_cut_behind_the_status_loses_nothing() -> None:
    assert outcome_of(out("data"), status(SUCCESS), end="cut").stdout == b"data"
    assert outcome_of(out("data"), status(SUCCESS), end="hang").stdout == b"data"


def test_silence_is_a_timeout_and_not_tried_again() -> None:
    with pytest.raises(Trouble, match="no more came after 4 bytes") as raised:
        outcome_of(out("data"), end="hang")
    assert raised.value.timeout
    assert not raised.value.transient


def test_a_larger_answer_than_allowed_is_not_read_on() -> None:
    with pytest.raises(Trouble, match="larger than"):
        outcome_of(out("x" * 60), out("x" * 60), limit=100)


def test_endless_stderr_is_dropped_and_no_failure() -> None:
    frames = [b"\x02" + b"e" * 30_000] * 50
    got = outcome_of(*frames, out("data"), status(SUCCESS))
    assert got.stdout == b"data"
    assert len(got.stderr) <= 300


def test_the_exit_code_comes_from_the_status() -> None:
    said = failure("NonZeroExitCode", "exit 7", {"reason": "ExitCode", "message": "7"})
    assert outcome_of(status(said)).code == 7


def test_a_status_in_two_frames_is_read_whole() -> None:
    whole = json.dumps(SUCCESS).encode()
    assert outcome_of(b"\x03" + whole[:9], b"\x03" + whole[9:]).code == 0


@pytest.mark.parametrize(
    "said",
    [
        failure("InternalError", 'exec: "wget": executable file not found in $PATH: unknown'),
        failure("InternalError", "OCI runtime exec failed: stat wget: no such file or directory"),
        failure(
            "NonZeroExitCode",
            "executable file `wget` not found in $PATH",
            {"reason": "ExitCode", "message": "127"},
        ),
    ],
)
def test_every_runtime_s_word_for_a_missing_program_is_known(said: dict[str, Any]) -> None:
    assert outcome_of(status(said)).missing


def test_a_program_that_says_not_found_itself_is_not_missing() -> None:
    said = failure("NonZeroExitCode", "exit 1", {"reason": "ExitCode", "message": "1"})
    got = outcome_of(b"\x02wget: server returned error: HTTP/1.1 404 Not Found", status(said))
    assert not got.missing


@pytest.mark.parametrize(
    ("tool", "code", "stderr", "body", "expected"),
    [
        ("wget", 1, "wget: server returned error: HTTP/1.1 500 Internal Server Error", "", "500"),
        (
            "curl",
            22,
            "curl: (22) The requested URL returned error: 500",
            '{"code":500,"message":"Error: no Prometheus"}',
            "answers 500: Error: no Prometheus",
        ),
        (
            "wget",
            1,
            "wget: can't connect to remote host (127.0.0.1): Connection refused",
            "",
            "9003",
        ),
        ("curl", 7, "curl: (7) Failed to connect", "", "nothing listens on port 9003"),
        ("wget", 1, "wget: download timed out", "", "does not answer in time"),
        ("curl", 28, "curl: (28) Operation too slow", "", "does not answer in time"),
        ("wget", 137, "", "", "was killed"),
        ("wget", 1, "", "", "exit 1 without a word"),
    ],
)
def test_what_a_tool_met_is_named(
    tool: str, code: int, stderr: str, body: str, expected: str
) -> None:
    outcome = execute.Outcome(code, bytearray(body.encode()), stderr, "")
    assert expected in _of_tool(tool, outcome, 9003).message


def test_no_shell_and_no_proxy_stand_in_a_command() -> None:
    url = "http://127.0.0.1:9003/allocation?window=1,2&aggregate=cluster;rm"
    assert tool_argv("wget", url, 9) == ["wget", "-q", "-T", "9", "-Y", "off", "-O", "-", url]
    curl = tool_argv("curl", url, 9)
    assert curl[-1] == url
    assert curl[curl.index("--noproxy") + 1] == "*"
    assert "sh" not in curl
