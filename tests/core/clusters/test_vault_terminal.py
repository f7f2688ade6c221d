"""What a terminal seals, the daemon alone opens, for that command, cluster, field and person."""

from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.clusters.vault import (
    Keyring,
    PublicKey,
    Secret,
    open_from_terminal,
    seal_to_daemon,
)
from core.clusters.vault.records import PLAINTEXT_BYTES_MAX
from core.errors import SecretFault

RING = Keyring.generate()
PUBLIC = PublicKey.from_text(RING.public_key.text)


@dataclass(frozen=True)
class Bound:
    command_id: str = "41"
    cluster: str = "eu-1"
    field: str = "kubeconfig"
    submitter: str = "auth0|17"


texts = st.text(max_size=12)
bounds = st.builds(Bound, texts, texts, texts, texts)


@given(st.binary(max_size=300), bounds)
def test_the_daemon_opens_what_a_terminal_sealed(plaintext: bytes, to: Bound) -> None:
    blob = seal_to_daemon(PUBLIC, Secret(plaintext), **asdict(to))
    assert open_from_terminal(RING, blob, **asdict(to)).reveal() == plaintext


@given(bounds, bounds)
def test_a_blob_serves_no_other_command(here: Bound, there: Bound) -> None:
    assume(here != there)
    blob = seal_to_daemon(PUBLIC, Secret(b"plain"), **asdict(here))
    with pytest.raises(SecretFault, match="does not open"):
        open_from_terminal(RING, blob, **asdict(there))


@pytest.mark.parametrize("field", ["command_id", "cluster", "field", "submitter"])
def test_each_of_the_four_is_bound(field: str) -> None:
    blob = seal_to_daemon(PUBLIC, Secret(b"plain"), **asdict(Bound()))
    changed = replace(Bound(), **{field: "other"})
    with pytest.raises(SecretFault, match="does not open"):
        open_from_terminal(RING, blob, **asdict(changed))


def test_a_blob_changed_or_cut_anywhere_does_not_open() -> None:
    blob = seal_to_daemon(PUBLIC, Secret(b"plain"), **asdict(Bound()))
    for at in range(len(blob)):
        changed = blob[:at] + bytes((blob[at] ^ 1,)) + blob[at + 1 :]
        for broken in (changed, blob[:at]):
            with pytest.raises(SecretFault, match=r"[Ss]ubmit it again"):
                open_from_terminal(RING, broken, **asdict(Bound()))


def test_another_daemon_says_that_the_key_is_not_its_own() -> None:
    other = Keyring.generate()
    blob = seal_to_daemon(PUBLIC, Secret(b"plain"), **asdict(Bound()))
    with pytest.raises(SecretFault, match="sealed to another key"):
        open_from_terminal(other, blob, **asdict(Bound()))


def test_a_key_of_small_order_is_not_sealed_to() -> None:
    with pytest.raises(SecretFault, match="cannot be sealed to"):
        seal_to_daemon(PublicKey(bytes(32)), Secret(b"plain"), **asdict(Bound()))


def test_too_much_is_not_sent() -> None:
    with pytest.raises(SecretFault, match="too many to send"):
        seal_to_daemon(PUBLIC, Secret(b"x" * (PLAINTEXT_BYTES_MAX + 1)), **asdict(Bound()))


def test_a_public_key_survives_its_text_and_a_paste() -> None:
    text = RING.public_key.text
    assert text.startswith("hopsmeter-x25519:")
    assert PublicKey.from_text(f" {text}\n") == RING.public_key
    assert len(RING.public_key.fingerprint.split()) == 8
    assert RING.public_key.fingerprint != Keyring.generate().public_key.fingerprint


@pytest.mark.parametrize(
    "text", ["", "x", "hopsmeter-x25519:", "hopsmeter-x25519:AAAA", "ssh-ed25519:" + "A" * 43 + "="]
)
def test_a_text_that_is_no_public_key_is_named_so(text: str) -> None:
    with pytest.raises(SecretFault, match="no public key"):
        PublicKey.from_text(text)
