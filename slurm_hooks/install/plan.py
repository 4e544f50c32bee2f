# SPDX-License-Identifier: Apache-2.0
"""What becomes of the texts of slurm.conf, cgroup.conf and dockerd's file, by the rows of needs.py. Pure.

The site's lines stay, with their order and comments. What only a person can decide is said, and not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slurm_hooks import needs
from slurm_hooks.install import members
from slurm_hooks.install.conf import Conf
from slurm_hooks.needs import HOOKS, MANY, SEVERAL, Asked

HEAD = "# By slurm-hooks install --apply, for docker in jobs:"
SAME = "have the same slurm.conf and cgroup.conf on the controller and on each node"
EVERYWHERE = (
    "have slurm-hooks on each node that reads this slurm.conf: a Prolog or Epilog that is not there drains the node "
    "with its first job"
)


def _nothing(hook: str, value: str) -> bool:
    return False


@dataclass(frozen=True)
class Wish:
    """What the texts are to be like."""

    asked: Asked
    release: tuple[int, int] | None = None  # of Slurm; None: not known
    leave: frozenset[str] = frozenset()  # names of findings that the site has chosen to have
    runs: Callable[[str, str], bool] = _nothing  # (hook, value): do the scripts there call ours?
    flags: frozenset[str] = frozenset()  # options of dockerd's command line


@dataclass(frozen=True)
class Plan:
    """The texts as they are needed."""

    texts: Mapping[str, str]  # by path; those that do not change too
    undecided: tuple[str, ...] = ()  # in words
    then: tuple[str, ...] = ()  # what makes them hold, in the order to do it


def slurm_conf(conf: Conf, wish: Wish) -> Plan:
    """slurm.conf, with the files that it includes."""
    undecided: list[str] = []
    then: list[str] = []
    changed = conf
    for hook, (name, ours) in HOOKS.items():
        lines = changed.of(hook)
        several = hook in SEVERAL and bool(wish.release and wish.release >= MANY)
        held = lines if several else lines[-1:]
        if name in wish.leave or any(needs.covers(line.value, ours) or wish.runs(hook, line.value) for line in held):
            continue
        if lines and (words := needs.beside(hook, held[-1].value, conf.main, wish.release)):
            undecided.append(words)
            continue
        line = f"{hook}={ours}"
        changed = changed.with_line_after(lines[-1], line) if lines else _with_line(changed, line)
        then += [EVERYWHERE, needs.RECONFIGURE]
    others = {key: changed.value(key) for key in ("EpilogTimeout", "GresTypes")}
    changed = _with_rows("slurm.conf", changed, others, wish, undecided, then)
    return _plan(changed, undecided, then)


def cgroup_conf(conf: Conf, slurm: Conf, wish: Wish) -> Plan:
    """cgroup.conf; some of it is asked for by what slurm.conf says."""
    undecided: list[str] = []
    then: list[str] = []
    others = {"GresTypes": slurm.value("GresTypes")}
    return _plan(_with_rows("cgroup.conf", conf, others, wish, undecided, then), undecided, then)


def _plan(conf: Conf, undecided: list[str], then: list[str]) -> Plan:
    return Plan(conf.texts, tuple(undecided), tuple(then))


def in_order(then: Iterable[str]) -> tuple[str, ...]:
    """What makes changes hold, once each and without what another does as well."""
    said = set(then)
    if needs.RESTART in said:
        said -= {needs.RECONFIGURE, needs.RESTART_SLURMD}
    order = (SAME, EVERYWHERE, needs.RESTART, needs.RESTART_SLURMD, needs.RECONFIGURE)
    return (*(line for line in order if line in said), *sorted(said - set(order)))


def _with_rows(
    file: str, conf: Conf, others: Mapping[str, str], wish: Wish, undecided: list[str], then: list[str]
) -> Conf:
    for name, rows in needs.SLURM.items():
        for need in rows:
            if need.file != file or name in wish.leave:
                continue
            value = conf.value(need.key, need.silent)
            wanted = need.mended(value, wish.asked, others)
            if wanted is None:
                undecided.append(f"{name}: {need.key}={value} has no room for what is needed; see slurm-hooks check")
            elif wanted != value:
                lines = conf.of(need.key)
                line = f"{need.key}={wanted}"
                conf = conf.with_value(lines[-1], wanted) if lines else _with_line(conf, line)
                then.append(need.then)
    return conf


def _with_line(conf: Conf, line: str) -> Conf:
    """Our own lines are together, at the end."""
    text = conf.texts[conf.main]
    return (conf if HEAD in text else conf.with_line(HEAD)).with_line(line)


# -- dockerd ---------------------------------------------------------------------------------------


def dockerd(path: str, text: str, wish: Wish) -> Plan:
    """dockerd's file. Raises ValueError: it is no JSON object."""
    text = text if text.strip() else members.EMPTY
    undecided: list[str] = []
    before = members.read(text)
    for name, need in needs.DOCKERD.items():
        options = members.read(text)
        wanted = need.edit(options, wish.asked)
        if name in wish.leave or (wanted is not None and _differ(options, wanted) == []):
            continue
        keys = [] if wanted is None else _differ(options, wanted)
        if wanted is None:
            undecided.append(f"{name}: {need.words} is for the site to decide, whose dockerd it is")
        elif given := [key for key in keys if key in wish.flags]:
            undecided.append(
                f"{name}: {need.words}; but --{given[0]} is in dockerd's command line, and it does not start with an "
                f"option in both. Change it in the unit"
            )
        else:
            for key in keys:
                gone = key not in wanted
                text = members.without_member(text, key) if gone else members.with_member(text, key, wanted[key])
    unit = "docker, when no container of the site's own minds" if wish.asked.shared else "slurm-hooks-docker"
    then = (f"run: systemctl restart {unit}",) if members.read(text) != before else ()
    return Plan({path: text}, tuple(undecided), then)


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key in {**one, **other} if (key in one, one.get(key)) != (key in other, other.get(key))]
