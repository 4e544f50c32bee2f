# SPDX-License-Identifier: Apache-2.0
"""Lab (a): the cluster of docker-compose.slurm.yml, its hosts unprivileged containers on this machine."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.labs.base import Done, LabMissing
from tests.labs.hands import Hands

LABS = Path(__file__).parent
ROOT = LABS.parent.parent
PROJECT = "slurm-hooks-lab"
# How many times the seconds that others give it are: an emulated machine is slow.
SLOW = float(os.environ.get("SLURM_HOOKS_SLOW", "1"))
UP_WITHIN = 120 * SLOW  # seconds
# A root tree that is built already, for a machine that has a Docker and no network: nothing is installed there.
TREE = os.environ.get("SLURM_HOOKS_TREE")
# What a host is made of. A running cluster made of something else is an old one, and made anew.
SOURCES = (
    "Makefile",
    "etc",
    "slurm_hooks",
    "tests/labs/compose",
    "tests/labs/slurm",
    "tests/labs/tree",
    "tests/labs/image.sh",
    "tests/labs/slurm-hooks.toml",
    "docker-compose.slurm.yml",
)
LABEL = "slurm-hooks.source"
AGENT = ("/usr/bin/python3", "-I", "/src/tests/labs/agent.py")


class Compose:
    name = "compose"
    controller = "ctl"
    nodes: tuple[str, ...] = ("cn1", "cn2")
    users: tuple[str, ...] = ("ann", "bob")

    def __init__(self, which: str = "") -> None:
        """`which`: a word that tells a cluster from others of this machine, each with homes of its own."""
        self._project = f"{PROJECT}-{which}" if which else PROJECT
        self._hosts = f"slurm-hooks-{which}" if which else "slurm-hooks"
        self._env: dict[str, str] | None = None
        self._hands: dict[str, Hands] = {}

    def up(self) -> None:
        if os.geteuid() != 0:
            raise LabMissing("compose: building root trees and starting a Docker daemon needs root")
        if not TREE:
            _script("host.sh")
        with (LABS / "compose.py").open() as one_at_a_time:
            fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
            self._start()
        self._until_idle()

    def _start(self) -> None:
        docker_host = _script("dockerd.sh", "start")
        tree = Path(TREE or _script("tree/build.sh"))
        digest = _digest()
        self._env = os.environ | {
            "DOCKER_HOST": docker_host, "SLURM_HOOKS_SOURCE": digest, "SLURM_HOOKS_HOSTS": self._hosts,
        }  # fmt: skip
        image = f"slurm-hooks-node:{tree.stem.removeprefix('tree-')}"
        if self._docker("image", "inspect", image).status != 0:
            _say(f"importing {image}")
            self._must("docker", "import", str(tree), image)
        self._must("docker", "tag", image, "slurm-hooks-node:latest")
        state = f'{{{{.State.Running}}}} {{{{index .Config.Labels "{LABEL}"}}}}'
        states = self._docker("inspect", "--format", state, *self._containers())
        if states.out.splitlines() != [f"true {digest}"] * 3:
            _say("starting ctl, cn1, cn2")
            _script("compose/apparmor", "load")
            plugin = self._docker("compose", "version").status == 0
            compose = ("docker", "compose") if plugin else ("docker-compose",)
            options = ("--project-name", self._project, "--file", str(ROOT / "docker-compose.slurm.yml"))
            self._must(*compose, *options, "up", "-d", "--force-recreate", "--renew-anon-volumes")

    def alive(self) -> bool:
        return True  # its kernel is ours

    def down(self) -> None:
        _script("clean.sh", "--cluster")
        self._env = None

    def reboot(self) -> None:
        raise LabMissing("compose: its nodes have the machine's boot")

    def sh(self, host: str, script: str, *, user: str = "root", timeout: float = 60, stdin: str = "") -> Done:
        hands = self._hands.get(host)
        if hands is None or not hands.alive:
            hands = Hands(("docker", *self._enter(host, "-i"), *AGENT), self._environ())
            self._hands[host] = hands
        return hands.ask(script, user, timeout * SLOW, stdin)

    def shell(self, host: str, user: str) -> int:
        """Give the person at the terminal a shell on a host."""
        who = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--reset-env")
        argv = ("docker", *self._enter(host, "-it"), *who, "bash", "-c", "cd; exec bash -i")
        return subprocess.run(argv, env=self._environ()).returncode

    def _enter(self, host: str, *how: str) -> tuple[str, ...]:
        # A host may have made a cgroup namespace for itself, which Docker's exec does not know of.
        return ("exec", *how, f"{self._hosts}-{host}", "nsenter", "--target=1", "--cgroup")

    def _until_idle(self) -> None:
        deadline = time.monotonic() + UP_WITHIN
        said = ""
        while True:
            states = self.sh(self.controller, "sinfo -h -N -p main -o '%N %T'").out.split("\n")
            now = ", ".join(filter(None, states)) or "no answer from slurmctld yet"
            if now != said:
                _say(said := now)
            if now == ", ".join(f"{node} idle" for node in self.nodes):
                return
            for container in self._containers():
                running = self._docker("inspect", "--format", "{{.State.Running}}", container).out.strip()
                if running != "true" or time.monotonic() > deadline:
                    log = self._docker("logs", "--tail", "20", container)
                    raise RuntimeError(f"compose: {container} does not come up ({now}):\n{log.out}{log.err}")
            time.sleep(0.2)

    def _containers(self) -> list[str]:
        return [f"{self._hosts}-{host}" for host in (self.controller, *self.nodes)]

    def _environ(self) -> dict[str, str]:
        """The environment in which `docker` finds the daemon, which may be another process's work."""
        if self._env is None:
            self._env = os.environ | {"DOCKER_HOST": _script("dockerd.sh", "status")}
        return self._env

    def _docker(self, *args: str, stdin: str = "", timeout: float = 60) -> Done:
        done = subprocess.run(
            ["docker", *args],
            env=self._environ(),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _must(self, *argv: str) -> None:
        subprocess.run(argv, env=self._environ(), stdout=sys.stderr, check=True)


def _script(name: str, *args: str) -> str:
    """Run one of the scripts beside us, its progress on our stderr, and return what it prints."""
    done = subprocess.run([LABS / name, *args], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise LabMissing(f"compose: {' '.join((name, *args))} failed with status {done.returncode}")
    return done.stdout.strip()


def _digest() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        for file in sorted((ROOT / source, *(ROOT / source).rglob("*"))):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(f"{file} {file.stat().st_mode} ".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _say(text: str) -> None:
    print(f"compose: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.labs.compose",
        description="A Slurm cluster on this machine: a controller and two nodes, each a container.",
        epilog="example: %(prog)s up && %(prog)s shell ctl --user ann",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="bring it up and wait until both nodes are idle")
    verbs.add_parser("down", help="stop it and leave nothing but the cache")
    shell = verbs.add_parser("shell", help="a shell on a host")
    hosts = (Compose.controller, *Compose.nodes)
    shell.add_argument("host", nargs="?", default=Compose.controller, choices=hosts)
    shell.add_argument("--user", default="root", choices=("root", *Compose.users))
    args = parser.parse_args()
    lab = Compose()
    try:
        if args.verb == "up":
            lab.up()
        elif args.verb == "down":
            lab.down()
        else:
            return lab.shell(args.host, args.user)
    except (LabMissing, RuntimeError, subprocess.CalledProcessError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
