"""Nothing that is printed, logged, pickled or traced shows a secret."""

import copy
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict

import pytest
import structlog
from rich.console import Console
from rich.traceback import Traceback

from core.clusters.kubeconfig import read_kubeconfig
from core.clusters.vault import (
    Keyring,
    Secret,
    check_canary,
    make_canary,
    open_from_terminal,
    open_sealed,
    read_keyring,
    seal,
    seal_to_daemon,
)
from core.errors import HopsmeterError
from tests.core.clusters.kubeconfigs import NOW, by_certificate, by_token, kubeconfig

MARK = "hunter2-in-plain-sight"
RING = Keyring.generate()
OTHER = Keyring.generate()
HIDDEN = Secret(MARK)
TAKEN = read_kubeconfig(json.dumps(kubeconfig(user=by_token(MARK))), now=NOW)


def needles() -> list[str]:
    """Every spelling in which a secret could show."""
    raw = [MARK.encode(), RING.terminal_key.reveal(), *(k.material.reveal() for k in RING.keys)]
    plain = [MARK, *(repr(each)[2:-1][:12] for each in raw)]
    ring = json.loads(RING.document().reveal())
    return [*plain, ring["terminal_key"][:12], *(each["key"][:12] for each in ring["keys"])]


def assert_hides(text: str) -> None:
    assert [needle for needle in needles() if needle in text] == []


def sealed(ring: Keyring, secret: Secret) -> bytes:
    return seal(ring, secret, table="t", column="c", row="1")


def opened(record: bytes, row: str) -> Secret:
    return open_sealed(RING, record, table="t", column="c", row=row)


SHOWN = {"secret": HIDDEN, "keyring": RING, "kubeconfig": TAKEN}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN.keys())
def test_what_is_printed_or_logged_hides_secrets(shown: object) -> None:
    console = Console(file=io.StringIO(), width=300)
    console.print(shown)
    stream = io.StringIO()
    logging.getLogger("leaks").addHandler(logging.StreamHandler(stream))
    logging.getLogger("leaks").warning("%s %r %s", shown, shown, {"in": [shown]})
    rendered = structlog.processors.JSONRenderer()(None, "", {"event": "x", "held": shown})
    assert isinstance(console.file, io.StringIO)
    for text in (console.file.getvalue(), stream.getvalue(), f"{shown} {shown!r}", str(rendered)):
        assert "hidden" in text or "Keyring(" in text
        assert_hides(text)


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN.keys())
def test_secrets_are_not_pickled(shown: object) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(shown)


def test_copies_hide_as_well() -> None:
    assert copy.deepcopy(TAKEN) == TAKEN
    assert_hides(repr(copy.copy(HIDDEN)) + repr(copy.deepcopy(HIDDEN)) + repr(asdict(TAKEN)))


def moved_record() -> None:
    opened(sealed(RING, HIDDEN), "2")


def another_ring() -> None:
    opened(sealed(OTHER, HIDDEN), "1")


def too_long() -> None:
    sealed(RING, Secret(MARK * 100_000))


def wrong_canary() -> None:
    check_canary(RING, make_canary(OTHER))


BOUND = {"command_id": "1", "cluster": "eu", "field": "kubeconfig", "submitter": "me"}


def another_submitter() -> None:
    blob = seal_to_daemon(RING.public_key, HIDDEN, **BOUND)
    open_from_terminal(RING, blob, **{**BOUND, "submitter": "you"})


def broken_keyring_json() -> None:
    read_keyring(Secret(RING.document().reveal()[:-4]), source="x")


def keyring_with_a_strange_field() -> None:
    fields = Secret(RING.document().reveal().replace(b'"hopsmeter_keyring"', f'"{MARK}"'.encode()))
    read_keyring(fields, source="x")


def refused_kubeconfig(**user: object) -> Callable[[], None]:
    text = Secret(json.dumps(kubeconfig(user={**by_token(MARK), **user})))
    return lambda: reading(text)


def reading(text: Secret) -> None:
    read_kubeconfig(text, now=NOW)


def reading_raw() -> None:
    """The caller of `read_kubeconfig` may hold the text; its own frames may not show it."""
    read_kubeconfig(json.dumps(kubeconfig(user={**by_token(MARK), "exec": {"c": MARK}})), now=NOW)


FAILING: dict[str, Callable[[], None]] = {
    "moved record": moved_record,
    "another ring": another_ring,
    "too long": too_long,
    "wrong canary": wrong_canary,
    "another submitter": another_submitter,
    "broken keyring": broken_keyring_json,
    "strange field": keyring_with_a_strange_field,
    "exec": refused_kubeconfig(exec={"command": MARK}),
    "password": refused_kubeconfig(password=MARK),
    "a token as a field": refused_kubeconfig(**{f"{MARK}!": 1}),
    "two credentials": refused_kubeconfig(**by_certificate()),
    "token of two words": refused_kubeconfig(token=f"{MARK} {MARK}"),
    "bad base64": refused_kubeconfig(
        **{
            "token": "",
            "client-key-data": MARK,
            "client-certificate-data": by_certificate()["client-certificate-data"],
        }
    ),
    "no yaml": lambda: reading(Secret(f"token: [{MARK}")),
    "no utf-8": lambda: reading(Secret(MARK.encode() + b"\xff")),
    "raw text": reading_raw,
}


@pytest.mark.parametrize("fail", FAILING.values(), ids=FAILING.keys())
def test_a_traceback_with_locals_shows_no_secret(fail: Callable[[], None]) -> None:
    with pytest.raises(HopsmeterError) as caught:
        fail()
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    console = Console(file=io.StringIO(), width=400)
    assert error.__traceback__
    console.print(
        Traceback.from_exception(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_string=100_000,
            locals_max_length=1000,
            extra_lines=0,
        )
    )
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert isinstance(console.file, io.StringIO)
    for text in (console.file.getvalue(), "".join(plain.format()), repr(error), str(error.args)):
        assert_hides(without_source(text))


def without_source(text: str) -> str:
    """Leave out the lines of source, in which this file's own words stand."""
    return "\n".join(line for line in text.splitlines() if "MARK" not in line)


def test_a_secret_compares_by_content_and_is_no_key() -> None:
    assert Secret("a") == Secret(b"a") == Secret(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError, match="unhashable"):
        hash(HIDDEN)
