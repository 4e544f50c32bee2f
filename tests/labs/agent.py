# SPDX-License-Identifier: Apache-2.0
"""A lab's hands inside a host: runs the commands that it is told, several at once.

`agent.py` (lab (a), see hands.py) reads and writes lines of JSON, told apart by their numbers:

    {"number": 7, "script": "id", "user": "ann", "timeout": 60, "stdin": ""}
    {"number": 7, "status": 0, "out": "uid=1001(ann) …", "err": ""}

`agent.py BELL MAIL` (lab (b)) finds them as MAIL/7.ask and leaves MAIL/7.answer in a directory that it shares with
the machine. A serial line is the bell, `7` rung at either end. No more goes over it: user-mode Linux stops reading
for good when a burst of some kilobytes makes the tty throttle it.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import tty
from pathlib import Path
from typing import Any, BinaryIO


def file(content: str = "") -> BinaryIO:
    """Files, not pipes: a command has ended when its shell has, whatever runs on in the background."""
    made = os.fdopen(os.memfd_create("lab"), "w+b")
    made.write(content.encode())
    made.seek(0)
    return made


def run(script: str, user: str, timeout: float, stdin: str) -> dict[str, Any]:
    """The command's end as {status, out, err}; 124 and a word of ours where its time was up."""
    who = pwd.getpwnam(user)
    with file(stdin) as given, file() as out, file() as err:
        child = subprocess.Popen(
            # The agent's protection from the OOM killer is not for what it runs.
            ["choom", "--adjust", "0", "--", "sh", "-c", script],
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=who.pw_dir,
            user=who.pw_uid,
            group=who.pw_gid,
            extra_groups=os.getgrouplist(user, who.pw_gid),
            env={
                "HOME": who.pw_dir,
                "USER": user,
                "LOGNAME": user,
                "SHELL": who.pw_shell,
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
            },
            start_new_session=True,
        )
        late = ""
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            status, late = 124, f"lab: not done within {timeout:g} s, killed\n"
        out.seek(0)
        err.seek(0)
        return {
            "status": status if status >= 0 else 128 - status,
            "out": out.read().decode(errors="replace"),
            "err": err.read().decode(errors="replace") + late,
        }


def answered(command: dict[str, Any]) -> dict[str, Any]:
    """As run; whatever it was that failed in here, someone waits for an answer."""
    try:
        return run(**command)
    except Exception as error:
        return {"status": 125, "out": "", "err": f"lab: {error!r}\n"}


def by_lines() -> None:
    """Until our standard input ends; what runs then is not waited for."""
    writing = threading.Lock()

    def answer(command: dict[str, Any]) -> None:
        number = command.pop("number")
        line = json.dumps({"number": number, **answered(command)}).encode() + b"\n"
        with writing:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    for line in sys.stdin.buffer:  # a thread each: a long command holds up nobody
        threading.Thread(target=answer, args=[json.loads(line)], daemon=True).start()
    os._exit(0)


def by_mail(bell: str, mail: Path) -> None:
    """For good."""
    fd = os.open(bell, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)

    def answer(number: str) -> None:
        done = answered(json.loads((mail / f"{number}.ask").read_text()))
        (mail / f"{number}.answer").write_text(json.dumps(done))
        os.write(fd, f"{number}\n".encode())

    os.write(fd, b"ready\n")
    with os.fdopen(os.dup(fd)) as numbers:
        for number in numbers:
            threading.Thread(target=answer, args=[number.strip()], daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1:]:
        by_mail(sys.argv[1], Path(sys.argv[2]))
    else:
        by_lines()
