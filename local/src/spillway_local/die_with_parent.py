"""Become another program that ends when the parent does, even when the parent is killed with SIGKILL.

Run as a script, `python -I -S die_with_parent.py PARENT_PID SIGNAL UID:GID COMMAND...`: it imports nothing of this
package, so that it starts quickly, and is replaced by COMMAND. `-` instead of UID:GID keeps the user. A script and not
a `preexec_fn`, because running Python between fork and exec is unsafe in a parent that has threads.
"""

import contextlib
import ctypes
import os
import struct
import sys

# Numbers from the kernel's prctl.h, securebits.h and capability.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


def _prctl(option: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4])) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _set_capabilities(mask: int) -> bool:
    header, data = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), struct.pack("6I", mask, mask, mask, 0, 0, 0)
    return bool(ctypes.CDLL(None).capset(header, data) == 0)


def _change_user(uid: int, gid: int) -> None:
    """Give up root and all capabilities but one: to reach files below folders that only root may enter.

    That way a home or an environment below /root works without a change of its permissions.
    """
    if sys.platform == "linux":
        # Without it setuid() clears all capabilities, and access() ignores those that are left. Some containers do not
        # allow it: there the command reaches what its user reaches.
        with contextlib.suppress(OSError):
            _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        _keep_one_capability()


def _keep_one_capability() -> None:
    # Containers often lack the first; the second is the next smallest that does it.
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _set_capabilities(1 << capability):
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)
            return
    _set_capabilities(0)


def _die_with(parent_pid: int, signum: int) -> None:
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signum)
    # The parent may have died before the line above; then no signal will ever come.
    if os.getppid() != parent_pid:
        sys.exit(1)


def main() -> None:
    """Change the user, ask for the signal (a change of user forgets it, hence the order), become the command."""
    parent_pid, signum, owner, *command = sys.argv[1:]
    try:
        if owner != "-":
            uid, gid = owner.split(":")
            _change_user(int(uid), int(gid))
        _die_with(int(parent_pid), int(signum))
        os.execvp(command[0], command)  # noqa: S606 - the command comes from this package's own lists
    except OSError as error:
        sys.exit(f"cannot start {command[0]}{'' if owner == '-' else f' as user {owner}'}: {error}")


if __name__ == "__main__":
    main()
