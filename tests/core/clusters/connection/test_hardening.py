"""The process that visits gives its memory to no dump and no debugger."""

import subprocess
import sys

PR_GET_DUMPABLE = 3
LIMIT_S = 30
PROGRAM = f"""
import ctypes, os, resource
from core.clusters.connection.forkserver import _harden
libc = ctypes.CDLL(None)
print("before", libc.prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0), flush=True)
_harden()
reader, writer = os.pipe()
if os.fork() == 0:
    print("visit", libc.prctl({PR_GET_DUMPABLE}, 0, 0, 0, 0), flush=True)
    print("core", *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
    os._exit(0)
os.close(writer)
os.read(reader, 1)  # until the child, which alone still holds the other end, has ended
"""


def test_a_visit_leaves_no_core_dump() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.split("\n")[:3] == ["before 1", "visit 0", "core 0 0"]
