"""What exec finds in a container: busybox wget, sometimes curl, and a few small programs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from core.clock import Clock
from sandbox.opencost.api import Reply

Fetch = Callable[[int, str], Awaitable[Reply]]
"""(port, path and query) → what answers there; ConnectionRefusedError where nothing listens."""

SLEEP_S_MAX = 3600
WGET_TIMEOUT_S = 900.0
"""busybox's own default for -T."""
LOCAL_HOSTS = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Outcome:
    """How a process ended."""

    exit_code: int = 0
    stdout: bytes = field(default=b"", repr=False)
    stderr: bytes = b""


class NotStarted(Exception):
    """The runtime could not start the process."""


@dataclass(frozen=True)
class Inside:
    """What a process sees of its container."""

    tools: frozenset[str]
    fetch: Fetch
    now: Clock
    http_proxy: bool = False


async def run(argv: list[str], inside: Inside) -> Outcome:
    """Run a command to its end; NotStarted when there is no such program."""
    name = argv[0].rsplit("/", 1)[-1]
    program = _PROGRAMS.get(name)
    if program is None or name not in inside.tools:
        raise NotStarted(
            f'exec: "{argv[0]}": executable file not found in $PATH'
            if "/" not in argv[0]
            else f'exec: "{argv[0]}": stat {argv[0]}: no such file or directory'
        )
    return await program(argv[1:], inside)


def status_of(argv: list[str], outcome: Outcome) -> dict[str, Any]:
    """Return the metav1.Status of the error channel for a process that ran."""
    if outcome.exit_code == 0:
        return {"metadata": {}, "status": "Success"}
    code = str(outcome.exit_code)
    command = f"[{' '.join(argv)}]"
    return {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: "
        f"error executing command {command}, exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code}]},
    }


def status_not_started(error: NotStarted) -> dict[str, Any]:
    message = (
        "error executing command in container: failed to exec in container: failed to start exec: "
        f"OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown"
    )
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


async def _wget(args: list[str], inside: Inside) -> Outcome:
    options = _wget_options(args)
    if options is None:
        return Outcome(1, b"", b"wget: unrecognized option\nBusyBox v1.37.0 multi-call binary.\n")
    url = urlsplit(options["url"])
    if inside.http_proxy and options["proxy"] != "off":
        # busybox obeys http_proxy, and knows no no_proxy.
        return Outcome(1, b"", b"wget: bad address 'proxy.corp.example:3128'\n")
    if url.hostname not in LOCAL_HOSTS:
        return Outcome(1, b"", f"wget: bad address '{url.hostname}'\n".encode())
    try:
        async with asyncio.timeout(float(options["timeout"])):
            reply = await inside.fetch(url.port or 80, _target(options["url"]))
    except TimeoutError:
        return Outcome(1, b"", b"wget: download timed out\n")
    except ConnectionRefusedError:
        text = f"wget: can't connect to remote host ({url.hostname}): Connection refused\n"
        return Outcome(1, b"", text.encode())
    if reply.status >= 400:
        phrase = HTTPStatus(reply.status).phrase
        text = f"wget: server returned error: HTTP/1.1 {reply.status} {phrase}\n"
        return Outcome(1, b"", text.encode())
    return Outcome(0, reply.body if options["output"] == "-" else b"")


def _wget_options(args: list[str]) -> dict[str, str] | None:
    """Read busybox's options; None where it would print its usage."""
    options = {"timeout": str(WGET_TIMEOUT_S), "proxy": "on", "output": "", "url": ""}
    names = {"T": "timeout", "Y": "proxy", "O": "output"}
    rest = iter(args)
    for arg in rest:
        if not arg.startswith("-") or arg == "-":
            options["url"] = arg
            continue
        letters = arg[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in names:
                options[names[letter]] = letters or next(rest, "")
                break
            if letter not in "qSc":
                return None
    return options if options["url"] else None


async def _curl(args: list[str], inside: Inside) -> Outcome:
    options = _curl_options(args)
    if options is None:
        return Outcome(2, b"", b"curl: option unknown\ncurl: try 'curl --help'\n")
    url = urlsplit(options["url"])
    if inside.http_proxy and "noproxy" not in options:
        return Outcome(5, b"", b"curl: (5) Could not resolve proxy: proxy.corp.example\n")
    if url.hostname not in LOCAL_HOSTS:
        return Outcome(6, b"", f"curl: (6) Could not resolve host: {url.hostname}\n".encode())
    limit_s = float(options.get("max-time", SLEEP_S_MAX))
    try:
        async with asyncio.timeout(limit_s):
            reply = await inside.fetch(url.port or 80, _target(options["url"]))
    except TimeoutError:
        text = f"curl: (28) Operation timed out after {limit_s * 1000:.0f} milliseconds\n"
        return Outcome(28, b"", text.encode())
    except ConnectionRefusedError:
        text = f"curl: (7) Failed to connect to {url.hostname} port {url.port} after 0 ms\n"
        return Outcome(7, b"", text.encode())
    return _curl_outcome(reply, options)


def _curl_outcome(reply: Reply, options: dict[str, str]) -> Outcome:
    tail = options.get("write-out", "").replace("%{http_code}", str(reply.status))
    tail = tail.replace("\\n", "\n")
    if reply.status >= 400 and ("fail" in options or "fail-with-body" in options):
        text = f"curl: (22) The requested URL returned error: {reply.status}\n"
        body = reply.body if "fail-with-body" in options else b""
        return Outcome(22, body + tail.encode(), text.encode())
    return Outcome(0, reply.body + tail.encode())


_CURL_LONG_VALUES = ("max-time", "noproxy", "write-out", "connect-timeout", "proxy", "max-filesize")
_CURL_LONG_FLAGS = ("silent", "show-error", "fail", "fail-with-body", "globoff", "http1.1")
_CURL_SHORT = {"m": "max-time", "w": "write-out", "x": "proxy"}
_CURL_SHORT_FLAGS = {"s": "silent", "S": "show-error", "f": "fail", "g": "globoff", "q": "disable"}


def _curl_options(args: list[str]) -> dict[str, str] | None:
    options: dict[str, str] = {}
    rest = iter(args)
    for arg in rest:
        if arg.startswith("--"):
            name, _, value = arg[2:].partition("=")
            if name in _CURL_LONG_VALUES:
                options[name] = value or next(rest, "")
            elif name in _CURL_LONG_FLAGS:
                options[name] = "on"
            else:
                return None
        elif arg.startswith("-"):
            if not _read_short(arg[1:], rest, options):
                return None
        else:
            options["url"] = arg
    return options if "url" in options else None


def _read_short(letters: str, rest: Any, options: dict[str, str]) -> bool:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _CURL_SHORT:
            options[_CURL_SHORT[letter]] = letters or next(rest, "")
            return True
        if letter not in _CURL_SHORT_FLAGS:
            return False
        options[_CURL_SHORT_FLAGS[letter]] = "on"
    return True


def _target(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


async def _echo(args: list[str], _inside: Inside) -> Outcome:
    return Outcome(0, (" ".join(args) + "\n").encode())


async def _sleep(args: list[str], _inside: Inside) -> Outcome:
    await asyncio.sleep(min(float(args[0]), SLEEP_S_MAX))
    return Outcome()


async def _date(args: list[str], inside: Inside) -> Outcome:
    now = inside.now()
    if "+%s" in args:
        return Outcome(0, f"{int(now.timestamp())}\n".encode())
    return Outcome(0, now.strftime("%a %b %e %H:%M:%S UTC %Y\n").encode())


async def _true(_args: list[str], _inside: Inside) -> Outcome:
    return Outcome()


async def _false(_args: list[str], _inside: Inside) -> Outcome:
    return Outcome(1)


_PROGRAMS: dict[str, Callable[[list[str], Inside], Awaitable[Outcome]]] = {
    "wget": _wget,
    "curl": _curl,
    "echo": _echo,
    "sleep": _sleep,
    "date": _date,
    "true": _true,
    "false": _false,
}
