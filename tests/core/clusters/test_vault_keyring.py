"""The keyring: where it may stand, who may read it, and what is wrong with one that is not right."""

import base64
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clusters.vault import (
    Keyring,
    PublicKey,
    Secret,
    init_keyring,
    keyring_status,
    load_keyring,
    read_keyring,
)
from core.clusters.vault.keyring_file import CREDENTIAL_NAME
from core.errors import Conflict, SecretFault


def document(**changed: Any) -> dict[str, Any]:
    fields = json.loads(Keyring.generate().document().reveal())
    assert isinstance(fields, dict)
    return {**fields, **changed}


def write(path: Path, content: bytes | str | dict[str, Any], mode: int = 0o400) -> Path:
    text = json.dumps(content) if isinstance(content, dict) else content
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def load(path: Path) -> Keyring:
    return load_keyring(path, environ={})


def fault(path: Path) -> str:
    with pytest.raises(SecretFault) as caught:
        load(path)
    assert str(path) in caught.value.message
    return caught.value.message


# ── making and loading ──────────────────────────────────────────────────────────────────────


def test_a_new_keyring_is_private_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "keyring"
    public = init_keyring(path)
    assert isinstance(public, PublicKey)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert load(path).public_key == public
    assert list(tmp_path.iterdir()) == [path]


def test_a_keyring_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "keyring"
    init_keyring(path)
    before = path.read_bytes()
    with pytest.raises(Conflict, match="already there"):
        init_keyring(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_who_make_a_keyring_at_once_one_does(tmp_path: Path) -> None:
    def attempt(_: int) -> PublicKey | None:
        try:
            return init_keyring(tmp_path / "keyring")
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [public for public in pool.map(attempt, range(16)) if public]
    assert made == [load(tmp_path / "keyring").public_key]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretFault, match="No such file or directory"):
        init_keyring(tmp_path / "none" / "keyring")


@pytest.mark.parametrize("path", ["", "/"])
def test_a_path_without_a_name_is_no_place_for_a_keyring(path: str) -> None:
    with pytest.raises(SecretFault, match="Name a file"):
        init_keyring(Path(path))


def test_a_keyring_survives_its_document() -> None:
    ring = Keyring.generate().add_primary().add_primary()
    again = read_keyring(ring.document(), source="memory")
    assert again == ring
    assert again.key_ids == ring.key_ids
    assert len(set(ring.key_ids)) == 3


def test_without_a_keyring_nothing_starts() -> None:
    with pytest.raises(SecretFault, match="hopsmeter secrets init"):
        load_keyring(None, environ={})


def test_a_systemd_credential_is_found_by_its_name(tmp_path: Path) -> None:
    # systemd opens a credential of root to the service by an access list: group bits show.
    credential = write(tmp_path / CREDENTIAL_NAME, document(), mode=0o440)
    ring = load_keyring(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert ring.source == str(credential)


def test_a_credential_open_to_the_world_is_refused(tmp_path: Path) -> None:
    write(tmp_path / CREDENTIAL_NAME, document(), mode=0o444)
    with pytest.raises(SecretFault, match="others may read"):
        load_keyring(None, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_file_that_is_set_goes_before_the_credential(tmp_path: Path) -> None:
    write(tmp_path / CREDENTIAL_NAME, document())
    path = write(tmp_path / "mine", document())
    ring = load_keyring(path, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert ring.source == str(path)


def test_the_status_names_keys_and_shows_none(tmp_path: Path) -> None:
    ring = Keyring.generate().add_primary()
    path = write(tmp_path / "keyring", ring.document().reveal())
    status = keyring_status(load(path))
    assert (status.primary_key_id, *status.older_key_ids) == ring.key_ids
    assert status.source == str(path)
    assert status.public_key == ring.public_key.text
    told = repr(status)
    for key in (*(key.material for key in ring.keys), ring.terminal_key):
        assert base64.b64encode(key.reveal()).decode() not in told


# ── the file ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o604, 0o660, 0o777, 0o420, 0o401])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    told = fault(write(tmp_path / "keyring", document(), mode=mode))
    assert f"mode {mode:04o}" in told
    assert "chmod" in told


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_file_for_its_owner_alone_is_taken(tmp_path: Path, mode: int) -> None:
    assert load(write(tmp_path / "keyring", document(), mode=mode)).keys


def test_a_file_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "keyring", document())
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to user id" in fault(path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "real", document())
    link = tmp_path / "keyring"
    link.symlink_to(tmp_path / "real")
    assert "symbolic link" in fault(link)


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o400)
    assert "no ordinary file" in fault(pipe)
    assert "no ordinary file" in fault(tmp_path)


def test_a_folder_that_others_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    path = write(folder / "keyring", document())
    folder.chmod(0o777)
    assert "others may write to its folder" in fault(path)
    folder.chmod(0o1777)
    assert load(path).keys


def test_a_missing_empty_or_huge_file_is_named(tmp_path: Path) -> None:
    assert "is not there" in fault(tmp_path / "none")
    assert "empty" in fault(write(tmp_path / "empty", b""))
    assert "larger than" in fault(write(tmp_path / "huge", b" " * 70_000))


# ── the content ─────────────────────────────────────────────────────────────────────────────


def wrong(content: str | bytes | dict[str, Any]) -> str:
    text = json.dumps(content) if isinstance(content, dict) else content
    with pytest.raises(SecretFault) as caught:
        read_keyring(Secret(text), source="pasted")
    return caught.value.message


def test_blanks_and_newlines_of_a_paste_are_forgiven() -> None:
    fields = document()
    key = fields["keys"][0]["key"]
    fields["keys"][0]["key"] = f"  {key}\n"
    fields["terminal_key"] += "\r\n"
    ring = read_keyring(Secret(f"\ufeff\n\n{json.dumps(fields)}\r\n\n"), source="pasted")
    assert base64.b64encode(ring.primary.material.reveal()).decode() == key


KEY = base64.b64encode(bytes(range(32))).decode()
CONTENTS: list[tuple[str | dict[str, Any], str]] = [
    ("", "no JSON"),
    ("[" * 50_000, "no JSON"),
    ("[]", "no JSON object"),
    ("{}", "no keyring of format 1"),
    (document(hopsmeter_keyring=2), "no keyring of format 1"),
    (document(keys=[]), 'no list "keys"'),
    (document(keys="k"), 'no list "keys"'),
    (document(keys=["k"]), "no JSON object"),
    (document(keys=[{"id": "a", "key": KEY}] * 65), 'no list "keys"'),
    (document(keys=[{"id": "a", "key": KEY[:-5]}]), '"key 1" is not base64'),
    (document(keys=[{"id": "a", "key": KEY[:-4]}]), '"key 1" is 30 bytes, not 32'),
    (document(keys=[{"id": "a", "key": KEY[:9] + "\n" + KEY[9:]}]), '"key 1" is not base64'),
    (document(keys=[{"id": "a", "key": "\ud800"}]), '"key 1" is not base64'),
    (document(keys=[{"id": "a", "key": 7}]), 'no text for "key 1"'),
    (document(keys=[{"id": "", "key": KEY}]), "no proper id for key 1"),
    (document(keys=[{"id": "a b", "key": KEY}]), "no proper id for key 1"),
    (document(keys=[{"id": "x" * 33, "key": KEY}]), "no proper id for key 1"),
    (document(keys=[{"id": "a", "key": KEY, "note": "x"}]), "a field besides id, key"),
    (document(keys=[{"id": "a", "key": KEY}, {"id": "a", "key": "A" * 43 + "="}]), "alike"),
    (document(keys=[{"id": "a", "key": KEY}, {"id": "b", "key": KEY}]), "the same key twice"),
    (document(terminal_key=None), 'no text for "terminal_key"'),
    (document(other=1), "a field besides"),
    ('{"hopsmeter_keyring": 1, "hopsmeter_keyring": 1}', "gives a field twice"),
]


@pytest.mark.parametrize(("content", "told"), CONTENTS)
def test_a_wrong_keyring_is_told_what_is_wrong(content: str | dict[str, Any], told: str) -> None:
    message = wrong(content)
    assert told in message
    assert "Restore it from your copy" in message
    assert KEY[:8] not in message


def test_a_keyring_that_is_no_text_is_refused() -> None:
    assert "no JSON" in wrong(b"\xff\xfe")


@given(st.data())
def test_a_damaged_keyring_is_refused_or_whole(data: st.DataObject) -> None:
    text = bytearray(Keyring.generate().document().reveal())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        ring = read_keyring(Secret(bytes(text)), source="damaged")
    except SecretFault:
        return
    assert all(len(key.material) == 32 for key in ring.keys)
