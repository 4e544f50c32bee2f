# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks install`: the lines that slurm.conf, cgroup.conf and dockerd's file lack, shown or written.

conf.py and members.py edit texts, plan.py says which by the rows of needs.py (what `check` finds lacking), files.py
writes, client.py looks at the docker command. Starts and reloads nothing: what makes a change hold is said.
"""

from __future__ import annotations

import difflib
import glob
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from slurm_hooks import config, controller, linux, needs
from slurm_hooks.check import facts, processes, slurm
from slurm_hooks.engine import Engine
from slurm_hooks.errors import HooksError, NodeFault, one_line
from slurm_hooks.install import client, conf, files, plan
from slurm_hooks.settings import Settings

# Where Slurm's own commands look (read_config.c), with the places of the packages that there are.
SLURM_CONF = ("/etc/slurm/slurm.conf", "/usr/local/etc/slurm.conf", "/opt/slurm/etc/slurm.conf")
CACHED = "/run/slurm/conf/slurm.conf"  # configless
DOCKER = ("/usr/local/bin/docker", "/usr/bin/docker")  # as login(1) has them in PATH
PLUGINS = ("/usr/local/lib/docker", "/usr/local/libexec/docker", "/usr/lib/docker", "/usr/libexec/docker")
NOBODY = 65_534
SECONDS = 10.0


@dataclass
class Change:
    """A file, as it is and as it is needed."""

    target: files.Target
    before: str | None
    after: str
    refused: str = ""  # why it is not to be written
    kept: str = ""  # where the text of before is, once it is written
    written: bool = False

    @property
    def diff(self) -> str:
        """Unified, "" where nothing changes."""
        name = self.target.real
        old, new = (re.findall(r"[^\n]*\n|[^\n]+", text or "") for text in (self.before, self.after))
        made = difflib.unified_diff(old, new, name, f"{name} (as needed)")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)


@dataclass
class Report:
    """All that is said."""

    changes: list[Change] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    then: list[str] = field(default_factory=list)
    docker: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)

    def take(self, made: plan.Plan, before: dict[str, str], *, refused: str = "") -> None:
        """A plan's texts that differ, and its words."""
        self.undecided += made.undecided
        for path, text in made.texts.items():
            if text != before.get(path, ""):
                self.changes.append(Change(files.target(path), before.get(path), text, refused or files.why_not(path)))
        self.then += made.then


def main(
    *,
    apply: bool = False,
    as_json: bool = False,
    slurm_conf: str = "",
    cgroup_conf: str = "",
    daemon_json: str = "",
    release: str = "",
    leave: Iterable[str] = (),
) -> int:
    """Show what lacks, or write it; 0 where nothing is left to do, else 1. Raises HooksError."""
    if os.geteuid() != 0:
        raise HooksError("install", "the files are root's, and what it asks of the node too", "Run it as root.")
    if unknown := set(leave) - needs.WRITTEN:
        raise HooksError(f"--leave {sorted(unknown)[0]}", "no finding that is written", "See slurm-hooks check.")
    report = planned(config.load(keep=False), slurm_conf, cgroup_conf, daemon_json, release, frozenset(leave))
    if apply:
        stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        for change in report.changes:
            _write(change, stamp)
    left = [change for change in report.changes if not change.written]
    if as_json:
        print(json.dumps(_values(report), indent=2))
    else:
        for line in _lines(report, apply=apply):
            print(line)
    return 1 if left or report.undecided else 0


def _write(change: Change, stamp: str) -> None:
    if change.refused:
        return
    try:
        change.kept = files.replace(change.target.real, change.before, change.after, stamp)
        change.written = True
    except NodeFault as error:
        change.refused = f"{error.why}. {error.todo}".removesuffix(". ")


def planned(
    site: Settings, slurm_conf: str, cgroup_conf: str, daemon_json: str, release: str, leave: frozenset[str]
) -> Report:
    """Read the node and its files; what would change. Raises HooksError: a file is not there, or cannot be read."""
    node = facts.few(site)
    ours, _ = processes.daemons(site.docker.socket)
    asked = slurm.asked(node)
    report = Report()
    main_conf = os.path.abspath(slurm_conf or _slurm_conf())
    of_slurm = _parsed(main_conf)
    wish = plan.Wish(
        asked,
        _release(release) if release else needs.release_of(controller.release()),
        leave,
        lambda hook, value: any(map(facts.runs_us, glob.glob(os.path.join(os.path.dirname(main_conf), value)))),
        ours.daemon.flags if ours else frozenset(),
    )
    report.take(plan.slurm_conf(of_slurm, wish), dict(of_slurm.texts), refused=_unread(of_slurm))
    beside = os.path.join(os.path.dirname(main_conf), "cgroup.conf")
    of_cgroup = _parsed(os.path.abspath(cgroup_conf or beside), may_lack=True)
    before = {path: text for path, text in of_cgroup.texts.items() if path not in of_cgroup.unread}
    report.take(plan.cgroup_conf(of_cgroup, of_slurm, wish), before, refused=_unread(of_cgroup, may_lack=True))
    if report.changes and not files.is_shared(os.path.realpath(main_conf), _mounts()):
        report.then.append(plan.SAME)
    report.undecided += [f"{script} is not here; make install (or the package) brings it" for script in _missing()]
    _dockerd(report, daemon_json or _daemon_json(ours, asked), wish)
    report.then = list(plan.in_order(report.then))
    _docker(report, site.docker.socket)
    return report


# -- what there is ---------------------------------------------------------------------------------


def _slurm_conf() -> str:
    if named := os.environ.get("SLURM_CONF"):
        return named
    for path in (*SLURM_CONF, CACHED):
        if os.path.exists(path):
            return path
    raise HooksError("slurm.conf", f"not at {', '.join(SLURM_CONF)}", "Name it: --slurm-conf PATH.")


def _parsed(path: str, *, may_lack: bool = False) -> conf.Conf:
    found = conf.parsed(path, files.read)
    if path in found.unread and not (may_lack and not os.path.exists(path)):
        raise HooksError(path, "it cannot be read")
    if any("\0" in text for text in found.texts.values()):
        raise HooksError(path, "it has a NUL byte, behind which Slurm reads no further in the line")
    return found


def _unread(found: conf.Conf, *, may_lack: bool = False) -> str:
    lost = [path for path in found.unread if not (may_lack and path == found.main)]
    return f"{lost[0]}, which it includes, cannot be read here and may say the same" if lost else ""


def _missing() -> list[str]:
    return [script for _, script in needs.HOOKS.values() if not os.path.exists(script)]


def _release(text: str) -> tuple[int, int]:
    if release := needs.release_of(text):
        return release
    raise HooksError(f"--slurm-release {text}", "no release", "Write it as slurmd -V does: 24.11 or 24.11.5.")


def _mounts() -> list[tuple[str, str]]:
    return [(mount.point, mount.kind) for mount in linux.mounts_of("self")]


def _daemon_json(ours: processes.Running | None, asked: needs.Asked) -> str:
    if ours:
        return ours.daemon.file
    return processes.DEFAULT if asked.shared else processes.NONE.file


def _dockerd(report: Report, path: str, wish: plan.Wish) -> None:
    text = files.read(path)
    if text is None and (os.path.exists(path) or not wish.asked.shared):
        report.undecided.append(f"{path} is not here, or cannot be read; make install (or the package) brings it")
        return
    try:
        made = plan.dockerd(path, text or "", wish)
    except ValueError as error:
        report.undecided.append(f"{path}: {error}")
        return
    report.take(made, {} if text is None else {path: text})


def _docker(report: Report, socket: str) -> None:
    """The docker commands that users find, and their plugins."""
    try:
        parts = Engine(socket).version().get("Components") or ()
        engine = next((str(part["Version"]) for part in parts if part["Name"] == "Engine"), "")
    except HooksError:
        engine = ""
    there = [path for path in DOCKER if os.path.exists(path)]
    report.docker = [client.judged(path, _version_of(path), engine) for path in there]
    report.plugins = sorted(one for place in PLUGINS for one in glob.glob(f"{place}/cli-plugins/docker-*"))


def _version_of(path: str) -> str:
    """What a docker command says of itself; run as nobody, and only where it is root's alone to change."""
    facts_of = os.stat(path)
    if facts_of.st_uid != 0 or facts_of.st_mode & 0o022:
        return "nothing: others than root may change it, so it was not run"
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False,
            user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nothing: {error}"
    return done.stdout or done.stderr


# -- words -----------------------------------------------------------------------------------------


def _values(report: Report) -> dict[str, Any]:
    return {
        "files": [
            {
                "path": change.target.path, "real": change.target.real, "diff": change.diff,
                "written": change.written, "backup": change.kept, "refused": change.refused,
            }
            for change in report.changes
        ],
        "undecided": report.undecided, "then": report.then, "docker": report.docker, "plugins": report.plugins,
    }  # fmt: skip


def _lines(report: Report, *, apply: bool) -> Iterator[str]:
    for change in report.changes:
        yield change.diff.encode("utf-8", "surrogateescape").decode("utf-8", "replace").rstrip("\n")
    for change in report.changes:
        if change.refused:
            yield f"not written: {change.target.words}: {change.refused}"
        elif change.written:
            yield f"written: {change.target.words}" + (f" (before: {change.kept})" if change.kept else "")
        elif change.target.real != change.target.path:
            yield f"to write: {change.target.words}"
    for line in report.undecided:
        yield f"to decide: {one_line(line)}."
    if report.changes:
        for line in report.then:
            yield f"then: {line}."
    for line in report.docker or [f"none at {' or '.join(DOCKER)}"]:
        yield f"docker command: {line}"
    yield f"docker command: {client.SHOULD}"
    if report.plugins:
        yield f"docker plugins: {', '.join(report.plugins)}"
    refused = sum(bool(change.refused) for change in report.changes)
    left = sum(not change.written and not change.refused for change in report.changes)
    counts = [
        f"{sum(change.written for change in report.changes)} written" if apply else "",
        f"{left} to write (--apply)" if left else "",
        f"{refused} not to be written here" if refused else "",
        f"{len(report.undecided)} to decide" if report.undecided else "",
    ]
    yield f"slurm-hooks install: {', '.join(filter(None, counts)) or 'nothing to do'}"
