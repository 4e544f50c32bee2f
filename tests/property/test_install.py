# SPDX-License-Identifier: Apache-2.0
"""Whatever a site's slurm.conf is: applied twice is applied once, what is needed holds, and all else is as it was."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slurm_hooks import needs
from slurm_hooks.install import conf, members, plan
from slurm_hooks.needs import HOOKS, SEVERAL, SLURM, Asked

MAIN, SITE = "/etc/slurm/slurm.conf", "/etc/slurm/site.conf"
ROWS = {need.key.lower() for rows in SLURM.values() for need in rows if need.file == "slurm.conf"}
OURS = ROWS | {hook.lower() for hook in HOOKS}
# Few, so that they meet: two lines of a hook, a value that is escaped, an end that joins what is added to it.
KEYS = st.sampled_from(
    ["Prolog", "epilog", "TaskProlog", "prologflags", "TASKPLUGIN", "PrologEpilogTimeout", "NodeName"]
)
WORDS = ["task/cgroup", "none,a\\#b", "X11", "NoHold", "60", "/a/*", HOOKS["Prolog"][1], HOOKS["TaskProlog"][1]]
VALUES = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.text('ab/*,#\\"=1 ', min_size=1, max_size=8))
BLANKS = st.sampled_from(["", "", " ", "\t"])
BEHIND = st.sampled_from(["", "", " # why", " CPUs=4 Prolog=/x", " \\", "\\\\", "\\ ", "\r"])
SETS = st.builds("{}{}{}={}{}{}".format, BLANKS, KEYS, BLANKS, BLANKS, VALUES, BEHIND)
QUOTED = st.builds('{}="{}"'.format, KEYS, VALUES)
OTHERS = st.sampled_from(["", "# Prolog=/x \\", "Include site.conf", " Include site.conf", "include nowhere", "junk"])
LINES = st.one_of(SETS, SETS, QUOTED, OTHERS, st.text('ab=#\\" \n', max_size=6))
ENDS = st.sampled_from(["", "\n", " \\", "\\\n"])
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=9), ENDS)
WISHES = st.builds(
    plan.Wish,
    asked=st.builds(Asked, adopts=st.booleans(), grace=st.sampled_from([0, 30])),
    release=st.sampled_from([(22, 5), (24, 11), None]),
)


def as_slurm_reads(text: str, site: str) -> list[tuple[str, str]]:
    """(key, value) of each line that sets one, in the plain way: no place in the text is kept."""
    found: list[tuple[str, str]] = []
    whole = ""
    rows = re.findall(r"[^\n]*\n|[^\n]+", text)
    for number, row in enumerate(rows):
        bare = re.sub(r"(?s)((?:^|[^\\])(?:\\\\)*)#.*", r"\1", row, count=1)
        joined = re.search(r"(?s)(?:^|[^\\])(?:\\\\)*\\[ \t\n\r\v\f]*$", bare)
        whole += bare.rstrip(" \t\n\r\v\f")[:-1] if joined else bare
        if joined and number < len(rows) - 1:
            continue
        line = re.sub(r"(?s)\\(.?)", r"\1", whole)
        whole = ""
        if re.match(r"(?i)include[ \t\r\n]", line):
            found += as_slurm_reads(site, "") if line.split()[1:2] == ["site.conf"] else []
        elif key := re.match(r'\s*([A-Za-z0-9_.]+)\s*[-+*/]?=\s*(?:"([^"]*)"(?!\S)|(\S+))', line, re.ASCII):
            found.append((key[1].lower(), key[3] if key[2] is None else key[2]))
    return found


def read(texts: Any) -> list[tuple[str, str]]:
    return as_slurm_reads(texts[MAIN], texts.get(SITE, ""))


@given(TEXTS, TEXTS, WISHES)
def test_a_slurm_conf_is_changed_once_and_in_what_is_needed_alone(text: str, site: str, wish: plan.Wish) -> None:
    site = re.sub("(?i)include", "x", site)
    before = conf.parsed(MAIN, {MAIN: text, SITE: site}.get)
    made = plan.slurm_conf(before, wish)
    after = conf.parsed(MAIN, made.texts.get)
    again = plan.slurm_conf(after, wish)
    assert (again.texts, again.undecided, again.then) == (made.texts, made.undecided, ())
    # What is nobody's of ours is as it was, in its order.
    was, now = read(before.texts), read(made.texts)
    assert [one for one in was if one[0] not in OURS] == [one for one in now if one[0] not in OURS]
    # The site's own hooks are there, in their order; each is ours, or a person is told.
    for hook, (_, script) in HOOKS.items():
        own = [value for key, value in was if key == hook.lower()]
        held = [value for key, value in now if key == hook.lower()]
        assert [value for value in held if value != script] == [value for value in own if value != script]
        several = hook in SEVERAL and wish.release and wish.release >= needs.MANY
        runs = any(needs.covers(value, script) for value in (held if several else held[-1:]))
        assert runs or any(word.startswith(f"{hook}=") for word in made.undecided)
    # Each key is as needed.
    last = dict(now)
    others = {key: last.get(key.lower(), "") for key in ("EpilogTimeout", "GresTypes")}
    for name, rows in SLURM.items():
        for need in rows:
            if need.file == "slurm.conf":
                value = last.get(need.key.lower(), need.silent)
                wanted = need.mended(value, wish.asked, others)
                assert wanted == value or (wanted is None and any(w.startswith(f"{name}: ") for w in made.undecided))


OPTIONS = st.dictionaries(
    st.sampled_from(["exec-opts", "live-restore", "features", "hosts", "debug", "log-driver", "dns", "a", "bridge"]),
    st.one_of(st.booleans(), st.sampled_from(["none", "syslog", "tcp://:1"]), st.just(["native.cgroupdriver=systemd"])),
)


@given(OPTIONS, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_dockerds_file_is_changed_once_and_keeps_the_rest(options: dict[str, Any], indent: Any, shared: bool) -> None:  # noqa: FBT001
    for name in ("exec-opts", "features", "hosts"):
        if not isinstance(options.get(name, []), list) or name == "features":
            options.pop(name, None)
    wish = plan.Wish(Asked(shared=shared))
    made = plan.dockerd("x", json.dumps(options, indent=indent), wish)
    assert plan.dockerd("x", made.texts["x"], wish) == plan.Plan(made.texts, made.undecided)
    after = members.read(made.texts["x"])
    assert {name: after.get(name) for name in ("dns", "a")} == {name: options.get(name) for name in ("dns", "a")}
    assert [name for name in after if name in options] == [name for name in options if name in after]
