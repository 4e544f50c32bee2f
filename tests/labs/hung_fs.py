# SPDX-License-Identifier: Apache-2.0
"""A file system whose server takes a request and never answers: an honest process in state D.

    hung_fs.py DIRECTORY --daemon     mount it; it holds two files: `ok` (empty) and `stuck`
    hung_fs.py DIRECTORY --stop       the server comes back: it ends, waiting processes get ENOTCONN

Once a FUSE server has read a request, its asker waits for the answer in the
kernel, and SIGKILL does not end the wait (fs/fuse/dev.c, request_wait_answer).
So does NFS with a hard mount, which is what this stands for. Needs /dev/fuse (root
makes it here where the node lacks it); a user mounts through fusermount3(1).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import stat
import struct
import subprocess

# Opcodes and structures of include/uapi/linux/fuse.h, protocol 7.31.
LOOKUP, FORGET, GETATTR, OPEN, STATFS, RELEASE, INIT = 1, 2, 3, 14, 17, 18, 26
OPENDIR, RELEASEDIR, ACCESS, INTERRUPT, BATCH_FORGET = 27, 29, 34, 36, 42
NO_ANSWER_IS_EXPECTED = (FORGET, BATCH_FORGET, INTERRUPT)
ROOT, OK, STUCK = 1, 2, 3
NAMES = {b"ok": OK, b"stuck": STUCK}
IN_HEADER = struct.Struct("<IIQQIIII")
OUT_HEADER = struct.Struct("<IiQ")
ENOENT, ENOSYS = 2, 38
AN_HOUR = 3600  # seconds that the kernel may trust an answer


def attributes(node: int) -> bytes:
    """struct fuse_attr."""
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(opcode: int, node: int, payload: bytes) -> tuple[int, bytes] | None:
    """(errno, body) for a request; None: never."""
    if opcode == INIT:
        return 0, struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 12, 10, 65536, 1, 0, 0, *[0] * 8)
    if opcode == GETATTR:
        return 0, struct.pack("<QII", AN_HOUR, 0, 0) + attributes(node)
    if opcode == LOOKUP:
        found = NAMES.get(payload.rstrip(b"\0"))
        if found is None:
            return ENOENT, b""
        return 0, struct.pack("<4QII", found, 0, AN_HOUR, AN_HOUR, 0, 0) + attributes(found)
    if opcode == OPEN and node == STUCK:
        return None
    if opcode in (OPEN, OPENDIR):
        return 0, struct.pack("<QII", 1, 0, 0)
    if opcode in (RELEASE, RELEASEDIR, ACCESS):
        return 0, b""
    if opcode == STATFS:
        return 0, struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    return ENOSYS, b""


def serve(device: int) -> None:
    """Answer until the file system is unmounted."""
    while True:
        try:
            request = os.read(device, 1 << 18)
        except OSError:
            return
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
        if opcode in NO_ANSWER_IS_EXPECTED:
            continue
        said = answer(opcode, node, request[IN_HEADER.size :])
        if said is not None:
            error, body = said
            with contextlib.suppress(OSError):  # the asker is gone
                os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(body), -error, unique) + body)


def mounted(directory: str, options: str) -> int:
    """Mount the file system; the server's descriptor. Raises OSError."""
    if os.geteuid() != 0:
        return mounted_by_helper(directory, options)
    if not os.path.exists("/dev/fuse"):
        os.mknod("/dev/fuse", stat.S_IFCHR | 0o666, os.makedev(10, 229))
    os.makedirs(directory, exist_ok=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"hung", directory.encode(), b"fuse", 0, data) != 0:
        raise OSError(ctypes.get_errno(), f"mount {directory}: {os.strerror(ctypes.get_errno())}")
    return device


def mounted_by_helper(directory: str, options: str) -> int:
    """As a user: fusermount3 mounts as root, and sends the descriptor through the socket that it is told."""
    os.makedirs(directory, exist_ok=True)
    ours, its = socket.socketpair()
    subprocess.run(
        ["fusermount3", "-o", options, "--", directory],
        check=True,
        pass_fds=[its.fileno()],
        env={"PATH": "/usr/bin", "_FUSE_COMMFD": str(its.fileno())},
    )
    _, (device, *_), _, _ = socket.recv_fds(ours, 1, 1)
    return device


def stop(directory: str) -> None:
    """End the server; the kernel then answers for it. Idempotent."""
    pidfile = f"{directory}.pid"
    try:
        with open(pidfile) as file:
            pid = int(file.read())
    except FileNotFoundError:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.unlink(pidfile)
    ctypes.CDLL(None).umount2(directory.encode(), 2)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--daemon", action="store_true")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--options", default="fsname=lab", help="of fusermount3 (default: %(default)s)")
    wish = parser.parse_args()
    if wish.stop:
        stop(wish.directory)
        return
    device = mounted(wish.directory, wish.options)
    if wish.daemon:
        if (pid := os.fork()) > 0:
            with open(f"{wish.directory}.pid", "w") as file:
                file.write(str(pid))
            os._exit(0)
        os.setsid()
        for number in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    serve(device)


if __name__ == "__main__":
    main()
