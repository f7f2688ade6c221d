"""Deliveries are believed by their raw bytes, and only ids of them are kept."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.billing.stripe import signature as room
from core.billing.stripe.event_types import KNOWN, SNAPSHOT, THIN
from core.billing.stripe.gateway import API_VERSION
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.reading import read_event
from core.billing.stripe.signature import Refusal, SigningSecrets, verify
from core.errors import InputFault, SettingsFault
from core.secret import Secret
from core.webhooks.event import Delivery
from tests.core.webhooks.sender import SECRET, bytes_of, signature, snapshot, thin

NOW = datetime(2026, 3, 3, 14, 13, 11, tzinfo=UTC)
OTHER = "whsec_another_secret_of_another_endpoint"


def taken(
    body: bytes, header: str | None = None, secrets: Sequence[str] = (SECRET,), now: datetime = NOW
) -> Delivery | Refusal:
    signed = signature(body, at=NOW) if header is None else header
    return verify(body, signed, [Secret(one) for one in secrets], now, live=False)


def refused(*args: Any, **kwargs: Any) -> str:
    found = taken(*args, **kwargs)
    assert isinstance(found, Refusal)
    assert found.status == 400
    return found.why


def test_any_of_several_secrets_and_signatures_fits() -> None:
    body = bytes_of(snapshot())
    good = signature(body, at=NOW)
    stamp, _, code = good.partition(",")
    header = f"{stamp},v1={'0' * 64},v0={'1' * 64}, {code}"
    assert isinstance(taken(body, header, (OTHER, SECRET)), Delivery)
    assert "No signature fits" in refused(body, header, (OTHER,))
    assert "No signature fits" in refused(body, good, ())


def test_the_tolerance_goes_both_ways() -> None:
    body = bytes_of(snapshot())
    header = signature(body, at=NOW)
    for seconds in (-300, 0, 300):
        assert isinstance(taken(body, header, now=NOW + timedelta(seconds=seconds)), Delivery)
    assert "301 s ago" in refused(body, header, now=NOW + timedelta(seconds=301))
    assert "301 s in the future" in refused(body, header, now=NOW - timedelta(seconds=301))


@given(st.text(max_size=200))
def test_no_header_breaks_it(header: str) -> None:
    assert isinstance(taken(b"{}", header), Refusal)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=9))
def test_no_body_breaks_it(body: Any) -> None:
    for event in (body, {"object": "event", "id": "evt_1", "type": "a.b", "data": body}):
        found = taken(bytes_of(event))
        assert isinstance(found, Refusal)


def test_another_version_is_kept_with_a_note_that_names_both() -> None:
    old = taken(bytes_of(snapshot(api_version="2019-01-01")))
    assert isinstance(old, Delivery)
    assert old.note is not None
    assert "2019-01-01" in old.note
    assert API_VERSION in old.note
    assert old.known


def test_events_of_the_other_mode_and_of_other_accounts_are_left_alone() -> None:
    for event in (snapshot(livemode=True), snapshot(account="acct_1"), thin(context="acct_1")):
        found = taken(bytes_of(event))
        assert isinstance(found, Delivery)
        assert (found.known, found.note is None) == (False, False)


def test_a_detached_card_is_about_who_had_it() -> None:
    card = {"id": "pm_1", "object": "payment_method", "customer": None}
    event = snapshot(kind="payment_method.detached", thing=card, before={"customer": "cus_7"})
    found = read_event(event, live=False)
    assert found.subject == "cus_7"
    assert found.about == {
        "object": "pm_1",
        "object_type": "payment_method",
        "payment_method": "pm_1",
        "customer_before": "cus_7",
    }


def test_only_ids_are_kept_of_a_body() -> None:
    session = {
        "id": "cs_test_1",
        "object": "checkout.session",
        "customer": {"id": "cus_1", "email": "anna@example.test"},
        "payment_intent": "pi_1",
        "client_secret": "cs_test_1_secret_hush",
        "url": "https://checkout.test/hush",
        "metadata": {"hush": "hush"},
        "subscription": "not an id!",
        "invoice": 7,
    }
    found = read_event(snapshot(kind="checkout.session.completed", thing=session), live=False)
    assert "hush" not in repr(found)
    assert found.about == {
        "object": "cs_test_1",
        "object_type": "checkout.session",
        "session": "cs_test_1",
        "customer": "cus_1",
        "payment_intent": "pi_1",
    }


def test_a_thin_event_is_about_its_related_object() -> None:
    found = read_event(thin(), live=False)
    assert (found.subject, found.api_version, found.known) == ("mtr_1", None, True)
    assert found.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    bare = thin(related_object=None, type="v1.billing.meter.no_meter_found", created="yesterday")
    assert read_event(bare, live=False).subject == "evt_test_1"


def test_what_is_no_event_is_refused_by_what_it_lacks() -> None:
    events: list[Any] = [
        None,
        [],
        {},
        snapshot(event_id="1; DROP"),
        snapshot(kind="Ä"),
        snapshot(data=1),
    ]
    for event in events:
        with pytest.raises(InputFault):
            read_event(event, live=False)


def test_each_type_that_is_asked_for_has_a_handler() -> None:
    assert set(stripe_handlers()) == KNOWN == {*SNAPSHOT, *THIN}
    assert len(KNOWN) == 33


def write(path: Path, content: str, mode: int = 0o400) -> Path:
    path.unlink(missing_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_file_of_secrets_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0)
    told: list[str] = []
    path = write(tmp_path / "signing", f"{SECRET}\n")
    secrets = SigningSecrets(path, private=True, tell=told.append)
    assert secrets.current() == (Secret(SECRET),)
    write(path, f"{SECRET}\n\n  {OTHER}\n")
    assert secrets.current() == (Secret(SECRET), Secret(OTHER))
    write(path, f"{OTHER}\n", mode=0o444)
    assert secrets.current() == (Secret(SECRET), Secret(OTHER))
    assert "chmod 0400" in told[0]
    path.unlink()
    assert len(secrets.current()) == 2
    assert len(told) == 2


@pytest.mark.parametrize("content", ["", "\n", "whsec_", "sk_test_hush\n", "whsec_a b c d e\n"])
def test_a_file_without_a_secret_is_refused_without_being_shown(
    tmp_path: Path, content: str
) -> None:
    with pytest.raises(SettingsFault) as fault:
        SigningSecrets(write(tmp_path / "signing", content), private=True)
    assert "hush" not in str(fault.value)
    assert "begins with whsec_" in str(fault.value)
