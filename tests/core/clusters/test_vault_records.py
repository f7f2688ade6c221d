"""Sealed records open where they were sealed, whole, with their key; nowhere else."""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.clusters.vault import (
    Keyring,
    Secret,
    check_canary,
    key_id,
    make_canary,
    needs_rekey,
    open_sealed,
    seal,
)
from core.clusters.vault.records import PLAINTEXT_BYTES_MAX
from core.errors import SecretFault

RING = Keyring.generate()


@dataclass(frozen=True)
class Place:
    table: str = "hopsworks_clusters"
    column: str = "kubeconfig"
    row: str = "7"
    bound_to: tuple[str, ...] = ()


texts = st.text(max_size=12)
places = st.builds(Place, texts, texts, texts, st.lists(texts, max_size=2).map(tuple))


def sealed(ring: Keyring, plaintext: bytes, at: Place) -> bytes:
    return seal(
        ring,
        Secret(plaintext),
        table=at.table,
        column=at.column,
        row=at.row,
        bound_to=at.bound_to,
    )


def opened(ring: Keyring, record: bytes, at: Place) -> bytes:
    return open_sealed(
        ring, record, table=at.table, column=at.column, row=at.row, bound_to=at.bound_to
    ).reveal()


@given(st.binary(max_size=300), places)
def test_a_record_opens_where_it_was_sealed(plaintext: bytes, at: Place) -> None:
    assert opened(RING, sealed(RING, plaintext, at), at) == plaintext


@given(places, places)
def test_a_record_moved_elsewhere_does_not_open(here: Place, there: Place) -> None:
    assume(here != there)
    record = sealed(RING, b"plain", here)
    with pytest.raises(SecretFault, match="does not open"):
        opened(RING, record, there)


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_record_with_one_bit_changed_does_not_open(plaintext: bytes, data: st.DataObject) -> None:
    record = bytearray(sealed(RING, plaintext, Place()))
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SecretFault):
        opened(RING, bytes(record), Place())


def test_a_record_cut_anywhere_does_not_open() -> None:
    record = sealed(RING, b"plain text", Place())
    for length in range(len(record)):
        with pytest.raises(SecretFault):
            opened(RING, record[:length], Place())
    with pytest.raises(SecretFault):
        opened(RING, record + b"\0", Place())


@given(st.binary(max_size=80))
def test_bytes_that_are_no_record_are_named_so(noise: bytes) -> None:
    with pytest.raises(SecretFault, match=r"no sealed record|damaged|does not"):
        opened(RING, noise, Place())


def test_lengths_keep_neighbours_apart() -> None:
    record = sealed(RING, b"plain", Place("ab", "c", "1"))
    with pytest.raises(SecretFault):
        opened(RING, record, Place("a", "bc", "1"))


def test_an_api_key_bound_to_its_url_opens_for_no_other() -> None:
    record = sealed(RING, b"key", Place(bound_to=("https://hopsworks.example.com",)))
    with pytest.raises(SecretFault, match="what it belongs to has changed"):
        opened(RING, record, Place(bound_to=("https://elsewhere.example.com",)))


def test_the_same_text_is_sealed_differently_each_time() -> None:
    records = {sealed(RING, b"same", Place()) for _ in range(50)}
    assert len(records) == 50
    assert all(b"same" not in record for record in records)


def test_a_record_is_small_beside_its_text() -> None:
    overhead = len(sealed(RING, b"x" * 5600, Place())) - 5600
    assert overhead == 2 + len(RING.primary.key_id) + 12 + 16


def test_too_much_is_not_sealed() -> None:
    with pytest.raises(SecretFault, match="too many to seal"):
        sealed(RING, b"x" * (PLAINTEXT_BYTES_MAX + 1), Place())


def test_an_old_key_opens_until_it_leaves_the_ring() -> None:
    record = sealed(RING, b"plain", Place())
    turned = RING.add_primary()
    assert opened(turned, record, Place()) == b"plain"
    assert needs_rekey(record, turned)
    again = sealed(turned, b"plain", Place())
    assert key_id(again) == turned.primary.key_id != RING.primary.key_id
    assert not needs_rekey(again, turned)
    assert turned.public_key == RING.public_key
    with pytest.raises(SecretFault, match=f"does not hold.*{RING.primary.key_id}"):
        opened(RING, again, Place())


def test_the_canary_knows_its_keyring() -> None:
    canary = make_canary(RING)
    check_canary(RING, canary)
    check_canary(RING.add_primary(), canary)
    with pytest.raises(SecretFault, match=f"not the one.*{RING.primary.key_id}"):
        check_canary(Keyring.generate(), canary)
    for broken in (b"", canary[:-1], canary[:-1] + bytes((canary[-1] ^ 1,))):
        with pytest.raises(SecretFault, match="not the one"):
            check_canary(RING, broken)


def test_no_other_record_passes_for_a_canary() -> None:
    record = sealed(RING, b"This keyring is the one", Place("canary", "sealed", "1"))
    with pytest.raises(SecretFault):
        check_canary(RING, record)


def test_a_damaged_key_id_reaches_the_terminal_escaped() -> None:
    record = b"\x01\x04\x1b[2J" + b"\0" * 40
    with pytest.raises(SecretFault) as caught:
        opened(RING, record, Place())
    assert "\x1b" not in caught.value.message
