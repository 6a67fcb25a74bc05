"""Become another program that ends when the parent does, even when the parent is killed with SIGKILL.

Run as a script, `python -I -S tether.py PARENT_PID SIGNAL USER COMMAND...`: imports nothing of this package, so that it
is quick, and is replaced by COMMAND. USER is `-` for no change. A script and not a `preexec_fn`, because running Python
between fork and exec is unsafe in a parent that has threads.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def _tie_to(parent_pid: int, signum: int) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the line above; then no signal will ever come.
    if os.getppid() != parent_pid:
        sys.exit(1)


def main() -> None:
    """Change the user, ask for the signal (a change of user forgets it, hence the order), become the command."""
    parent_pid, signum, user, *command = sys.argv[1:]
    if user != "-":
        _become(user)
    _tie_to(int(parent_pid), int(signum))
    os.execvp(command[0], command)  # noqa: S606 - the command comes from this package's own lists


if __name__ == "__main__":
    main()
