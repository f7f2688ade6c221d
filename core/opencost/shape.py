"""The fields of OpenCost's JSON that we read; all others are skipped while decoding."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from core.errors import AnswerRefused
from core.opencost.unreadable import unreadable_figures
from core.opencost.words import plain, some

MONEY_KINDS = (
    "cpu_cost",
    "gpu_cost",
    "ram_cost",
    "pv_cost",
    "network_cost",
    "load_balancer_cost",
    "shared_cost",
    "external_cost",
)
ADJUSTMENTS = (
    "cpu_cost_adjustment",
    "gpu_cost_adjustment",
    "ram_cost_adjustment",
    "pv_cost_adjustment",
    "network_cost_adjustment",
    "load_balancer_cost_adjustment",
)
FIVE_DECIMALS = ("cpu_core_hours", "gpu_hours", "minutes")
WHOLE = ("ram_byte_hours", "pv_byte_hours", "network_transfer_bytes", "network_receive_bytes")

MESSAGE_CHARS_MAX = 300

Decoded = TypeVar("Decoded")

_counting = threading.Lock()
_begun: list[None] = []
"""One for each row that the decoder began; under the lock."""
_begin: Callable[[], Any] = partial(_begun.append, None)


class Uncounted:
    """What no JSON is: an answer that has a field of this type is refused."""


class Span(Struct, gc=False):
    """A window, as text: `2026-03-01T14:00:00Z`, or "null" for an open one."""

    start: str | None = None
    end: str | None = None


class Row(Struct, gc=False, rename="camel"):
    """One namespace's allocation: what is kept of its fields, null and absent told apart.

    Without minutes, total and the costs of CPU and RAM there is nothing to bill on, so they are null where
    they are absent; some of the others are left out by older or newer OpenCosts. In OpenCost's own order:
    the decoder looks for a name where it expects the next one first (a twelfth of its time).
    """

    minutes: float | None = None
    cpu_core_hours: float | None = 0.0
    cpu_cost: float | None = None
    cpu_cost_adjustment: float | None = 0.0
    gpu_hours: float | None = 0.0
    gpu_cost: float | None = 0.0
    gpu_cost_adjustment: float | None = 0.0
    network_transfer_bytes: float | None = 0.0
    network_receive_bytes: float | None = 0.0
    network_cost: float | None = 0.0
    network_cost_adjustment: float | None = 0.0
    load_balancer_cost: float | None = 0.0
    load_balancer_cost_adjustment: float | None = 0.0
    pv_byte_hours: float | None = 0.0
    pv_cost: float | None = 0.0
    pv_cost_adjustment: float | None = 0.0
    ram_byte_hours: float | None = 0.0
    ram_cost: float | None = None
    ram_cost_adjustment: float | None = 0.0
    external_cost: float | None = 0.0
    shared_cost: float | None = 0.0
    total_cost: float | None = None
    total_efficiency: float | None = None
    # More rows begun than keys means that a name stood twice, which a JSON decoder forgets. No
    # answer can have this field, so each row takes the default, which counts it in C.
    counted: Uncounted = msgspec.field(default_factory=_begin, name="hopsmeter counted")
    # Its bytes: almost always those of the row before. Last, so that a record ends with it.
    window: Raw = Raw(b"{}")


Rows = dict[str, Row | None]


class Envelope(Struct, gc=False):
    """OpenCost's answer around its rows: a list of sets, each a map from key to row."""

    code: int = 0
    message: str = ""
    data: list[Rows | None] | None = None


_DECODER = msgspec.json.Decoder(Envelope)
_ROWS_DECODER = msgspec.json.Decoder(Rows)
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SPAN_DECODER = msgspec.json.Decoder(Span)
_FIGURES = frozenset(
    field.encode_name
    for field in msgspec.structs.fields(Row)
    if field.name not in ("window", "counted")
)


def decode(body: bytes) -> tuple[Envelope, int]:
    """Decode one answer and count the rows in its text; AnswerRefused where it is not JSON."""
    if not body:
        raise AnswerRefused(
            "not-json",
            "OpenCost answered with nothing at all (it does so when it cannot write its JSON);"
            " see the log of the OpenCost pod.",
            structural=True,
        )
    try:
        envelope, counted = _counted(_DECODER, body)
    except _UNDECODABLE as error:
        raise _refusal(body, str(error)) from None
    envelope.message = plain(envelope.message[:MESSAGE_CHARS_MAX])
    return envelope, counted


def decode_rows(rows: bytes) -> tuple[Rows, int]:
    """Decode one JSON object of rows by their names, and count as `decode` does; errors as there.

    Its refusal is nobody's to read: it takes no pains to say what is wrong.
    """
    try:
        return _counted(_ROWS_DECODER, rows)
    except _UNDECODABLE as error:
        raise AnswerRefused("not-json", plain(str(error)), structural=True) from None


def _counted(decoder: msgspec.json.Decoder[Decoded], text: bytes) -> tuple[Decoded, int]:
    # The decoder never lets another thread run, so nobody waits here for long.
    with _counting:
        _begun.clear()
        decoded = decoder.decode(text)
        counted = len(_begun)
        _begun.clear()
    return decoded, counted


def span_of(window: bytes) -> Span:
    """Decode a row's window; AnswerRefused where it is none."""
    try:
        return _SPAN_DECODER.decode(window)
    except _UNDECODABLE as error:
        raise _refusal(window, str(error)) from None


def _refusal(body: bytes, error: str) -> AnswerRefused:
    """Say what could not be decoded: the figures by their names where that is all, else how."""
    figures = unreadable_figures(body, _FIGURES)
    if figures:
        return AnswerRefused("no-number", f"{some(figures)}: no finite number.", structural=True)
    start = body[:60].decode("utf-8", "replace")
    return AnswerRefused(
        "not-json",
        f"OpenCost's answer is not the JSON it should be ({plain(error)}); it begins: {start!r}.",
        structural=True,
    )
