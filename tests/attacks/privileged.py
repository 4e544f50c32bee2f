# SPDX-License-Identifier: Apache-2.0
"""What root with every capability tries in a container that has one wall left; run by its Python, in the container.

Arguments: the pid of a process of the node, which shares its pids with the container. Prints a JSON object: what was
tried → "" where it was done, else the error's name. Read by test_apparmor.py.
"""

import ctypes
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from functools import partial

OTHER = int(sys.argv[1])
PIVOT_ROOT, PTRACE = 155, 101  # x86_64
PTRACE_ATTACH = 16
libc = ctypes.CDLL(None, use_errno=True)


def must(status: int) -> None:
    """Raises OSError where a function of libc has failed."""
    if status < 0:
        raise OSError(ctypes.get_errno(), "")


def write(path: str, text: bytes = b"") -> None:
    """Open for writing; some files of /proc have no harmless text to take."""
    file = os.open(path, os.O_WRONLY)
    try:
        if text:
            os.write(file, text)
    finally:
        os.close(file)


def read(path: str) -> None:
    """The beginning of a file, or the names in a directory."""
    if os.path.isdir(path):
        os.listdir(path)
        return
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.read(file, 8192)  # a record of the kernel's log comes whole
    except BlockingIOError:
        pass
    finally:
        os.close(file)


def a_socket(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def forked(what: Callable[[], None]) -> None:
    """In a child, which it changes."""
    child = os.fork()
    if not child:
        try:
            what()
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    if number := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(number, "")


def echo(family: int, address: str) -> None:
    """A connection through the loopback."""
    server = socket.create_server((address, 0), family=family)
    with server, socket.create_connection(server.getsockname()[:2]):
        server.accept()[0].close()


ATTACKS: dict[str, Callable[[], None]] = {
    "mount": lambda: must(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None)),
    "mount a bind": lambda: must(libc.mount(b"/src", b"/mnt", None, 4096, None)),
    "mount writable": lambda: must(libc.mount(None, b"/sys", None, 32, None)),
    "umount": lambda: must(libc.umount2(b"/dev/mqueue", 2)),
    "write /proc/sys": lambda: write("/proc/sys/vm/swappiness", b"60"),
    "write /proc/sys/kernel/shm*": lambda: write("/proc/sys/kernel/shmmax"),
    "write core_pattern": lambda: write("/proc/sys/kernel/core_pattern"),
    "write sysrq-trigger": lambda: write("/proc/sysrq-trigger", b"h"),
    "write /sys": lambda: write("/sys/module/printk/parameters/time"),
    "write the own label": lambda: write("/proc/self/attr/current", b"changeprofile unconfined"),
    "write the label of the next program": lambda: write("/proc/self/attr/exec", b"exec unconfined"),
    "write the own id map": lambda: write("/proc/self/uid_map"),
    "write the own login": lambda: write("/proc/self/loginuid"),
    **{f"read {path}": partial(read, path) for path in sys.argv[2:]},
    "a raw socket": lambda: a_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "a packet socket": lambda: a_socket(socket.AF_PACKET, socket.SOCK_DGRAM),
    "a socket to the hypervisor": lambda: a_socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "a socket of the kernel's ciphers": lambda: a_socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "a user namespace": lambda: forked(lambda: must(libc.unshare(0x10000000))),
    "a namespace of host names": lambda: forked(lambda: must(libc.unshare(0x04000000))),
    "another's file": lambda: os.chown("/tmp", 5, 5),
    "a device": lambda: os.mknod("/tmp/null", 0o020666, os.makedev(1, 3)),
    "chroot": lambda: forked(lambda: os.chroot("/tmp")),
    "trace a process of the node": lambda: must(libc.syscall(PTRACE, PTRACE_ATTACH, OTHER, 0, 0)),
    "read a process of the node": lambda: read(f"/proc/{OTHER}/environ"),
    "signal a process of the node": lambda: os.kill(OTHER, 0),
    "pivot_root": lambda: forked(lambda: must(libc.syscall(PIVOT_ROOT, b"/tmp", b"/tmp"))),  # the last: it moves /
}
# What programs do, with the same profile.
WORKS: dict[str, Callable[[], None]] = {
    "loopback": lambda: echo(socket.AF_INET, "127.0.0.1"),
    "loopback of IPv6": lambda: echo(socket.AF_INET6, "::1"),
    "unix sockets": lambda: socket.socketpair()[0].close(),
    "interfaces by netlink": lambda: a_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "its own name": lambda: write("/proc/self/comm", b"renamed"),
    "its own OOM score": lambda: write("/proc/self/oom_score_adj", b"500"),
    "signals among its own": lambda: os.kill(os.getpid(), 0),
    "programs": lambda: forked(lambda: os.execv("/bin/true", ["true"])),
    "sysctls read": lambda: read("/proc/sys/kernel/pid_max"),
    "processors counted": lambda: read("/sys/devices/system/cpu/online"),
}


def told(what: Callable[[], None]) -> str:
    try:
        what()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


if __name__ == "__main__":
    works = {name: told(what) for name, what in WORKS.items()}
    print(json.dumps({"works": works, "attacks": {name: told(what) for name, what in ATTACKS.items()}}))
