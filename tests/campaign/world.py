# SPDX-License-Identifier: Apache-2.0
"""Hands on the node: processes by what they are, daemons, a user's commands, jobs. Runs on the node, as root."""

from __future__ import annotations

import os
import pwd
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.campaign import auditor

UNITS = {"dockerd": "slurm-hooks-docker", "broker": "slurm-hooks-broker"}
SERVICE = "/src/tests/labs/compose/service"
SYSTEMD = os.path.isdir("/run/systemd/system")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BROKER = "/run/slurm-hooks/docker.sock"


class Campaign(Exception):
    """The campaign cannot go on: not a verdict on the product."""


def until(condition: Callable[[], bool], within: float, pause: float = 0.05) -> bool:
    """Did it come?"""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def must_until(condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
    """Raises Campaign where it does not come."""
    if not until(condition, within):
        raise Campaign(f"{what} did not come within {within:.0f} s")


def run(*words: str, user: str = "root", within: float = 60.0) -> subprocess.CompletedProcess[str]:
    """A command, as a user at home."""
    who = pwd.getpwnam(user)
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=who.pw_dir,
        user=who.pw_uid,
        group=who.pw_gid,
        extra_groups=os.getgrouplist(user, who.pw_gid),
        env={"HOME": who.pw_dir, "USER": user, "PATH": PATH, "LANG": "C.UTF-8"},
    )


def must(*words: str, user: str = "root", within: float = 60.0) -> str:
    """Raises Campaign where it fails; else what it printed."""
    done = run(*words, user=user, within=within)
    if done.returncode:
        raise Campaign(f"{' '.join(words)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def pids() -> set[int]:
    """All there are."""
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def words_of(pid: int) -> str:
    """Its command line; "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """proc_pid_stat(5) from the state on; one "" where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [""]


def born(pid: int) -> int:
    """Ticks from the boot to its start: with the pid, who it is. 0 where it is gone or a zombie."""
    state, *rest = _stat(pid)
    return 0 if state in ("", "Z", "X") else int(rest[18])


def state_of(pid: int) -> str:
    """One letter of proc_pid_stat(5); "" where it is gone."""
    return _stat(pid)[0]


def find(pattern: str, among: set[int] | None = None) -> list[int]:
    """The pids whose command line a pattern matches, lowest first."""
    return sorted(pid for pid in (pids() if among is None else among) if re.search(pattern, words_of(pid)))


DAEMONS = {
    "broker": r"slurm-hooks broker$",
    "dockerd": r"(^|/)dockerd .*slurm-jobs\.json",
    "containerd": r"^(/usr/bin/)?containerd$",
    "slurmd": r"^(/usr/sbin/)?slurmd( |$)",
}


def daemon(name: str) -> int:
    """The pid of a daemon. Raises Campaign where it does not run."""
    found = [pid for pid in find(DAEMONS[name]) if not words_of(pid).startswith("sh ")]
    if not found:
        raise Campaign(f"{name} does not run")
    return found[0]


def service(verb: str, name: str) -> None:
    """start or stop a daemon. Raises Campaign where it fails."""
    must(*(("systemctl", verb, UNITS.get(name, name)) if SYSTEMD else (SERVICE, verb, name)), within=90.0)


def answers(name: str) -> bool:
    """Does a daemon do its work?"""
    try:
        if name == "broker":
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(5)
                line.connect(BROKER)
                return True
        if name == "dockerd":
            return bool(auditor.ask("/version", 5))
        if name == "containerd":
            return run("ctr", "version", within=10).returncode == 0
        return run("scontrol", "show", "slurmd", within=10).returncode == 0
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def listens(port: int) -> bool:
    """Does somebody on the loopback?"""
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def healthy(within: float = 60.0) -> None:
    """Start what does not run, and wait for all of it. Raises Campaign."""
    for name in ("containerd", "dockerd", "broker", "slurmd"):
        if not answers(name):
            service("start", name)
            must_until(lambda name=name: answers(name), name, within)  # type: ignore[misc]


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Was there someone to signal?"""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_end(pid: int, within: float) -> bool:
    """Until a process that need not be our child has ended. Did it?"""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], within)[0])
    finally:
        os.close(fd)


class Job:
    """A job whose script talks to us through a directory: marker files to us, a fifo to it."""

    def __init__(self, user: str, name: str, script: str) -> None:
        who = pwd.getpwnam(user)
        self.user, self.place = user, f"/home/{user}/{name}"
        subprocess.run(["rm", "-rf", self.place], check=True)
        os.mkdir(self.place, 0o700)
        os.mkfifo(f"{self.place}/go", 0o600)
        Path(f"{self.place}/job.sh").write_text(script.replace("PLACE", self.place))
        for path in (self.place, f"{self.place}/go", f"{self.place}/job.sh"):
            os.chown(path, who.pw_uid, who.pw_gid)
        self._go = os.open(f"{self.place}/go", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.id = 0

    def submit(self, *options: str) -> Job:
        """sbatch, to this node. Raises Campaign."""
        output = f"--output={self.place}/output"
        node = f"--nodelist={node_name()}"
        said = must("sbatch", "--parsable", output, node, *options, f"{self.place}/job.sh", user=self.user)
        self.id = int(said.partition(";")[0])
        return self

    def told(self, mark: str) -> bool:
        """Has the job set that mark?"""
        return os.path.exists(f"{self.place}/{mark}")

    def go(self) -> None:
        """One step further."""
        os.write(self._go, b"go\n")

    def output(self) -> str:
        """What it wrote, its end."""
        try:
            return Path(f"{self.place}/output").read_text(errors="replace")[-1500:]
        except OSError:
            return ""

    def state(self) -> str:
        """Slurm's word: RUNNING, COMPLETING … and "" once the job and its Epilog are through."""
        done = run("squeue", "--noheader", f"--jobs={self.id}", "--format=%T")
        return done.stdout.strip() if done.returncode == 0 else "" if "Invalid job id" in done.stderr else "UNKNOWN"

    def facts(self) -> dict[str, str]:
        """Of scontrol show job."""
        said = run("scontrol", "show", "job", str(self.id)).stdout.split()
        wanted = ("JobState", "Reason", "Restarts", "ExitCode")
        return {key: value for key, _, value in (word.partition("=") for word in said) if key in wanted}

    def containers(self) -> set[str]:
        """Ids of its containers that have a cgroup: the kernel's view."""
        found: set[str] = set()
        for top, names, _ in os.walk("/sys/fs/cgroup"):
            if top.endswith(f"/job_{self.id}"):
                found.update(name for name in names if auditor.CONTAINER.fullmatch(name))
                names.clear()
        return found

    def leave(self) -> None:
        """Nothing of it stays in its user's home."""
        os.close(self._go)
        subprocess.run(["rm", "-rf", self.place], check=True)


def node_name() -> str:
    """As Slurm has it."""
    return os.uname().nodename.partition(".")[0]


def drained() -> str:
    """Why the node is drained; "" where it is not."""
    said = must("scontrol", "--oneliner", "show", "node", node_name())
    state = re.search(r"State=(\S+)", said)
    reason = re.search(r"Reason=(.*?)(?: \[|$)", said)
    return (reason[1] if reason else "?") if state and ("DRAIN" in state[1] or "DOWN" in state[1]) else ""


def responds() -> bool:
    """Has slurmctld heard of the node lately? Without that it starts nothing there (idle*)."""
    return "*" not in must("sinfo", "--noheader", f"--nodes={node_name()}", "--format=%T")


def resume() -> None:
    """As an operator does. Raises Campaign."""
    must("scontrol", "update", f"nodename={node_name()}", "state=resume")
    must_until(lambda: not drained(), "a node that takes jobs again")
