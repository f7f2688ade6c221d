"""Becomes the account, ties its life to its parent's, and becomes the program.

Run as a script (`python -I -S launcher.py PARENT UID GID PROGRAM …`), never imported: a fresh
process with one thread can do between fork and exec what Popen's preexec_fn cannot do safely in a
program with threads. The order matters: the kernel forgets the death signal whenever the
credentials change, so it is asked for last; and a parent that died before that would never be
noticed, so it is looked for once more.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, uid: int, gid: int, program: list[str]) -> None:
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # SIGINT is PostgreSQL's fast shutdown: sessions are ended, everything is written, it exits.
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0) != 0:
        sys.exit(f"the kernel refuses a death signal: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.umask(0o077)
    os.execv(program[0], program)  # noqa: S606 - a list, and its first is a path of ours


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
