"""Short-lived files stand in memory, in private, and outlive nobody."""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import SecretFault
from core.private_folder import PrivateFolder, open_private_folder, private_folder_at

SHARED_MEMORY = Path("/dev/shm")
HOLDER = """
import sys
from pathlib import Path
from core.private_folder import private_folder_at

with private_folder_at(Path(sys.argv[1])).for_this_use() as path:
    (path / "key.pem").write_text("a key")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root() -> Iterator[Path]:
    path = SHARED_MEMORY / f"hopsmeter-test-{secrets.token_hex(6)}"
    yield path
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def hold(root: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a subfolder until its stdin ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout
    return holder, Path(holder.stdout.readline().strip())


def end(holder: subprocess.Popen[str], number: int) -> None:
    holder.send_signal(number)
    holder.communicate(timeout=10)


def test_a_use_has_a_folder_of_its_own_that_goes_with_it(root: Path) -> None:
    folder = private_folder_at(root)
    with folder.for_this_use() as one, folder.for_this_use() as other:
        assert one != other
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        assert one.name.startswith(f"{os.getpid()}-")
        (one / "key.pem").write_text("a key")
    assert list(root.iterdir()) == []
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_use_that_fails_leaves_nothing(root: Path) -> None:
    folder = private_folder_at(root)

    def use() -> None:
        with folder.for_this_use() as path:
            (path / "key.pem").write_text("a key")
            raise OSError("boom")

    with pytest.raises(OSError, match="boom"):
        use()
    assert list(root.iterdir()) == []


def test_no_descriptor_is_left_open(root: Path) -> None:
    folder = private_folder_at(root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with folder.for_this_use():
            folder.sweep()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_sweep_removes_what_a_killed_process_left(root: Path) -> None:
    holder, path = hold(root)
    folder = private_folder_at(root)
    assert folder.sweep() == 0
    assert (path / "key.pem").exists()
    end(holder, signal.SIGKILL)
    assert (path / "key.pem").exists()
    assert folder.sweep() == 1
    assert list(root.iterdir()) == []


def test_the_sweep_leaves_the_living_and_the_frozen(root: Path) -> None:
    holder, path = hold(root)
    folder = private_folder_at(root)
    try:
        os.kill(holder.pid, signal.SIGSTOP)
        with folder.for_this_use() as ours:
            assert folder.sweep() == 0
            assert ours.exists()
            assert path.exists()
        os.kill(holder.pid, signal.SIGCONT)
    finally:
        holder.communicate(timeout=10)
    assert not path.exists()


def test_a_reused_process_id_protects_nothing(root: Path) -> None:
    folder = private_folder_at(root)
    left = root / f"{os.getpid()}-1-0a0b0c0d"
    left.mkdir()
    assert folder.sweep() == 1
    assert not left.exists()


def test_the_sweep_follows_no_link_and_takes_no_file(root: Path, tmp_path: Path) -> None:
    folder = private_folder_at(root)
    (tmp_path / "precious").write_text("x")
    (root / "link").symlink_to(tmp_path)
    (root / "file").write_text("x")
    left = root / "left"
    left.mkdir()
    (left / "link").symlink_to(tmp_path)
    assert folder.sweep() == 1
    assert (tmp_path / "precious").exists()
    assert not left.exists()


def test_sweeps_beside_uses_take_nothing_from_them(root: Path) -> None:
    folder = private_folder_at(root)
    stop = threading.Event()
    faults: list[BaseException] = []

    def sweep_on() -> None:
        while not stop.is_set():
            try:
                folder.sweep()
            except BaseException as fault:  # a thread's failure is told by the test itself
                faults.append(fault)
                return

    sweeper = threading.Thread(target=sweep_on)
    sweeper.start()
    try:
        for _ in range(300):
            with folder.for_this_use() as path:
                (path / "key.pem").write_text("a key")
                assert (path / "key.pem").exists()
    finally:
        stop.set()
        sweeper.join(10)
    assert faults == []


def test_a_link_in_its_place_is_refused(root: Path, tmp_path: Path) -> None:
    root.symlink_to(tmp_path)
    with pytest.raises(SecretFault, match="symbolic link"):
        private_folder_at(root)


def test_a_file_in_its_place_is_refused(root: Path) -> None:
    root.write_text("x")
    with pytest.raises(SecretFault, match="cannot be made"):
        private_folder_at(root)
    root.unlink()


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701])
def test_a_folder_that_others_enter_is_refused(root: Path, mode: int) -> None:
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(SecretFault, match=f"others may enter it .mode {mode:04o}"):
        private_folder_at(root)


def test_a_folder_of_somebody_else_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SecretFault, match="belongs to user id"):
        private_folder_at(root)


def test_a_folder_on_a_disk_is_refused() -> None:
    on_disk = Path(__file__).parent / f".private-{secrets.token_hex(4)}"
    try:
        with pytest.raises(SecretFault, match="not on tmpfs"):
            private_folder_at(on_disk)
    finally:
        on_disk.rmdir()


def test_the_runtime_directory_of_systemd_goes_first(root: Path) -> None:
    root.mkdir(mode=0o755)
    folder = open_private_folder({"RUNTIME_DIRECTORY": f"{root}:/run/other"})
    assert folder == PrivateFolder(root / "private")


def test_without_systemd_shared_memory_serves(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    root.mkdir(mode=0o700)
    monkeypatch.setattr("core.private_folder._RUN", root / "none")
    monkeypatch.setattr("core.private_folder._SHARED_MEMORY", root)
    on_disk = str(Path(__file__).parent)
    folder = open_private_folder({"RUNTIME_DIRECTORY": on_disk})
    assert folder.root == root / f"hopsmeter-{os.geteuid()}"


def test_without_any_memory_the_fault_names_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setattr("core.private_folder._RUN", here / "none")
    monkeypatch.setattr("core.private_folder._SHARED_MEMORY", here)
    with pytest.raises(SecretFault, match="no folder in memory"):
        open_private_folder({})
