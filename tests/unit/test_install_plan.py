# SPDX-License-Identifier: Apache-2.0
"""What `install` makes of a site's files: what `check` would find is gone, and all else is as it was."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks import check, needs
from slurm_hooks.check.slurm import asked
from slurm_hooks.install import conf, members, plan
from slurm_hooks.install.conf import Conf
from slurm_hooks.knobs.node import Daemon, Node
from slurm_hooks.needs import DOCKERD, HOOKS, SLURM, Asked
from tests.unit.nodes import BROKEN, GOOD, INFO, chosen, selinux
from tests.unit.policy import ROOT, golden

MAIN, CGROUP, JSON = "/etc/slurm/slurm.conf", "/etc/slurm/cgroup.conf", "/etc/docker/slurm-jobs.json"
OLD, NEW = (22, 5), (24, 11)
SHIPPED = (ROOT / "etc/docker/slurm-jobs.json").read_text()
BARE = """# slurm.conf of a small site
ClusterName=lab
SlurmctldHost=ctl
NodeName=cn[1-4] CPUs=16 RealMemory=64000 \\
    Gres=gpu:2   # in gres.conf
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES
"""
OWN = """ClusterName=lab
Include site.conf
Prolog = /site/prolog.sh   # of the year 2019
PrologFlags=X11
Epilog=/site/epilog.d/*
TaskProlog=/site/task_prolog.sh
taskplugin=affinity
PrologEpilogTimeout=60
"""
SITE = 'ProctrackType="proctrack/linuxproc"\nSlurmdUser=slurm\n'


def parsed(text: str, main: str = MAIN, **included: str) -> Conf:
    return conf.parsed(main, {main: text, **{f"/etc/slurm/{name}.conf": one for name, one in included.items()}}.get)


def applied(slurm: Conf, cgroup: Conf, wish: plan.Wish) -> tuple[Conf, Conf, list[str]]:
    """Both files as they become, and what is to decide."""
    of_slurm, of_cgroup = plan.slurm_conf(slurm, wish), plan.cgroup_conf(cgroup, slurm, wish)
    words = [*of_slurm.undecided, *of_cgroup.undecided]
    return conf.parsed(MAIN, of_slurm.texts.get), conf.parsed(CGROUP, of_cgroup.texts.get), words


def diff(before: Conf, after: Conf) -> str:
    return "".join(
        line
        for path, text in after.texts.items()
        for line in difflib.unified_diff(
            before.texts[path].splitlines(keepends=True), text.splitlines(keepends=True), path, path
        )
    )


@pytest.mark.parametrize(
    ("name", "text", "release"),
    [("bare", BARE, NEW), ("own", OWN, NEW), ("own-22.05", OWN, OLD), ("own-unknown", OWN, None)],
)
def test_the_diff_of_a_site(name: str, text: str, release: tuple[int, int] | None) -> None:
    slurm, cgroup = parsed(text, site=SITE), parsed("ConstrainCores=yes\n", CGROUP)
    new_slurm, new_cgroup, words = applied(slurm, cgroup, plan.Wish(Asked(), release))
    said = "".join(f"to decide: {word}.\n" for word in words)
    golden(f"install-{name}.txt", diff(slurm, new_slurm) + diff(cgroup, new_cgroup) + said)


def test_the_labs_and_what_was_documented_lack_nothing() -> None:
    hooks = (ROOT / "etc/slurm/slurm-hooks.conf").read_text()
    slurm = (ROOT / "tests/labs/slurm/slurm.conf").read_text()
    cgroup = (ROOT / "tests/labs/compose/cgroup.conf").read_text()
    before = conf.parsed(MAIN, {MAIN: slurm, "/etc/slurm/slurm-hooks.conf": hooks, "/etc/slurm/nodes.conf": ""}.get)
    for release in (OLD, NEW, None):
        after, _, words = applied(before, parsed(cgroup, CGROUP), plan.Wish(Asked(), release))
        assert (after.texts, words) == (before.texts, [])


# -- Slurm's hooks beside the site's ---------------------------------------------------------------


def test_a_line_of_ours_stands_behind_the_sites_where_slurm_runs_both() -> None:
    after, _, words = applied(parsed("Prolog=/a\nPrologFlags=Alloc\n"), parsed("", CGROUP), plan.Wish(Asked(), (24, 5)))
    assert [entry.value for entry in after.of("Prolog")] == ["/a", HOOKS["Prolog"][1]]
    assert words == []


def test_before_24_05_the_last_line_alone_counts() -> None:
    ours = HOOKS["Prolog"][1]
    after, _, words = applied(parsed(f"Prolog={ours}\nProlog=/a\n"), parsed("", CGROUP), plan.Wish(Asked(), (23, 11)))
    assert [entry.value for entry in after.of("Prolog")] == [ours, "/a"]
    (word,) = words
    assert "ln -s /a /etc/slurm/prolog.d/90-site; then in slurm.conf: Prolog=/etc/slurm/prolog.d/*" in word
    assert applied(parsed(f"Prolog=/a\nProlog={ours}\n"), parsed("", CGROUP), plan.Wish(Asked(), (23, 11)))[2] == []


def test_a_script_of_the_sites_that_calls_ours_is_enough() -> None:
    calls = plan.Wish(Asked(), OLD, runs=lambda hook, value: (hook, value) == ("TaskProlog", "/a"))
    assert applied(parsed("TaskProlog=/a\n"), parsed("", CGROUP), calls)[2] == []
    assert len(applied(parsed("TaskProlog=/a\n"), parsed("", CGROUP), plan.Wish(Asked(), NEW))[2]) == 1


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("/etc/slurm/prolog.d/*", True), ("/etc/slurm/*/50-slurm-hooks", True), ("/etc/slurm/prolog.d/5?-*", True),
        ("/etc/slurm/*", False), ("/etc/slurm/prolog.d/*.sh", False), ("/etc/slurm/prolog.d", False), ("*", False),
    ],
)  # fmt: skip
def test_a_pattern_covers_what_glob_finds(pattern: str, *, covered: bool) -> None:
    assert needs.covers(pattern, HOOKS["Prolog"][1]) is covered


def test_a_finding_that_the_site_has_chosen_is_left() -> None:
    every = {name for name, _ in HOOKS.values()} | set(SLURM)
    before = parsed("TaskPlugin=task/none\n")
    for leave in every:
        after, cgroup, _ = applied(before, parsed("", CGROUP), plan.Wish(Asked(), NEW, frozenset(every - {leave})))
        text = after.texts[MAIN] + cgroup.texts[CGROUP]
        assert text.count("\n") <= 3, text
    after, cgroup, words = applied(before, parsed("", CGROUP), plan.Wish(Asked(), NEW, frozenset(every)))
    assert (after.texts, cgroup.texts, words) == (before.texts, {CGROUP: ""}, [])


def test_contain_and_nohold_are_not_written_together() -> None:
    after, _, words = applied(parsed("PrologFlags=NoHold\n"), parsed("", CGROUP), plan.Wish(Asked(adopts=True), NEW))
    assert after.value("PrologFlags") == "NoHold"
    assert len(words) == 1 and words[0].startswith("adopt-contain: ")


def test_check_tells_a_site_with_hooks_of_its_own_how_both_are_run() -> None:
    own = {"TaskProlog": "/a", "Prolog": "/b", "SLURM_VERSION": "23.11.1"}
    node = replace(GOOD, slurm={**GOOD.slurm, **own}, hooks=dict.fromkeys(HOOKS, False))
    mends = {finding.name: finding.mend for finding in check.judged(node)}
    assert "Put into /a, as its last line: /etc/slurm/task_prolog.sh" in mends["hook-task-prolog"]
    assert "ln -s /b /etc/slurm/prolog.d/90-site" in mends["hook-prolog"]
    gone = replace(node, slurm={**GOOD.slurm, "Prolog[0]": "/etc/slurm/prolog.d/*"})
    assert "make install" in {finding.name: finding.mend for finding in check.judged(gone)}["hook-prolog"]
    assert mends["hook-epilog"].startswith("In slurm.conf: Epilog=/etc/slurm/epilog.d/50-slurm-hooks; then ")


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("slurm-wlm 24.11.5\n", (24, 11)), ("slurm 22.05.3", (22, 5)), ("26.05.0-0rc1", (26, 5)), ("24.11", (24, 11)),
        ("", None), ("24", None), ("newest", None), ("x24.11", None),
    ],
)  # fmt: skip
def test_a_release_of_slurm_is_read(text: str, release: tuple[int, int] | None) -> None:
    assert needs.release_of(text) == release


# -- what check finds is gone ----------------------------------------------------------------------


def as_scontrol(slurm: Conf, cgroup: Conf) -> dict[str, str]:
    """What `scontrol show config` would print of the two."""
    said = {"SLURM_CONF": MAIN, "GresTypes": slurm.value("GresTypes")}
    for rows in SLURM.values():
        for need in rows:
            value = (slurm if need.file == "slurm.conf" else cgroup).value(need.key, need.silent)
            said[need.key] = value or "(null)"
    return said


def seen(slurm: Conf, cgroup: Conf, node: Node) -> Node:
    """A node whose Slurm has read the two."""
    hooks = {
        hook: any(needs.covers(entry.value, script) for entry in slurm.of(hook)) for hook, (_, script) in HOOKS.items()
    }
    return replace(node, slurm=as_scontrol(slurm, cgroup), hooks=hooks)


def names(node: Node) -> set[str]:
    return {finding.name for finding in check.judged(node)}


WRONG = {
    "proctrack": "ProctrackType=proctrack/linuxproc", "task-plugin": "TaskPlugin=task/affinity,task/none",
    "prolog-flags": "PrologFlags=DeferBatch", "adopt-contain": "PrologFlags=Alloc", "slurmd-user": "SlurmdUser=slurm",
    "epilog-timeout": "PrologEpilogTimeout=91\nEpilogTimeout=60",
}  # fmt: skip
WRONG_CGROUP = {
    "cgroup-plugin": "CgroupPlugin=disabled", "constrain-ram": "ConstrainRAMSpace=false",
    "constrain-cores": "constraincores=no", "constrain-devices": "",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({*WRONG, *WRONG_CGROUP}))
def test_what_check_finds_of_slurm_is_gone_when_it_is_applied(name: str) -> None:
    node = chosen("[container]\ngrace_seconds = 30")
    held = "TaskPlugin=cgroup\nGresTypes=gpu\nPrologFlags=Contain\n" + WRONG.get(name, "")
    wrong = WRONG_CGROUP.get(name, "ConstrainDevices=yes")
    slurm, cgroup = parsed(held), parsed(f"ConstrainRAMSpace=yes\nConstrainCores=yes\n{wrong}\n", CGROUP)
    before = seen(slurm, cgroup, node)
    assert name in names(before)
    for finding in check.judged(before):
        assert finding.name not in needs.WRITTEN or re.search(r"In (slurm|cgroup)\.conf: \w+=\S+; then ", finding.mend)
    new_slurm, new_cgroup, words = applied(slurm, cgroup, plan.Wish(asked(node), NEW))
    assert words == []
    assert names(seen(new_slurm, new_cgroup, node)) == set()


def test_all_at_once_is_gone_too_and_nothing_is_left_for_a_second_time() -> None:
    slurm = parsed("\n".join(WRONG.values()).replace("PrologFlags=Alloc\n", "") + "\nGresTypes=gpu\n")
    cgroup = parsed("\n".join(WRONG_CGROUP.values()), CGROUP)
    found = names(seen(slurm, cgroup, GOOD))
    assert found >= {name for name, _ in HOOKS.values()} | {*WRONG, *WRONG_CGROUP} - {"adopt-contain"}
    wish = plan.Wish(asked(GOOD), NEW)
    new_slurm, new_cgroup, _ = applied(slurm, cgroup, wish)
    assert names(seen(new_slurm, new_cgroup, GOOD)) == set()
    again_slurm, again_cgroup, _ = applied(new_slurm, new_cgroup, wish)
    assert (again_slurm.texts, again_cgroup.texts) == (new_slurm.texts, new_cgroup.texts)


def test_each_row_is_a_finding_that_check_makes() -> None:
    assert needs.WRITTEN - {"icc"} <= set(BROKEN)


# -- dockerd's file --------------------------------------------------------------------------------


def dockerd(text: str, **how: Any) -> plan.Plan:
    flags = how.pop("flags", frozenset())
    return plan.dockerd(JSON, text, plan.Wish(Asked(**how), flags=flags))


def with_option(**changes: Any) -> str:
    said = json.loads(SHIPPED)
    for name, value in changes.items():
        said.pop(name.replace("_", "-"), None)
        if value is not None:
            said[name.replace("_", "-")] = value
    return json.dumps(said, indent=2)


def as_dockerd(options: Mapping[str, Any], node: Node = GOOD) -> Node:
    """A node whose dockerd has read these, with what GET /info then has."""
    said = {option.partition("=")[2].partition(",")[0] for option in node.info["SecurityOptions"]}
    said.discard("no-new-privileges")
    said.discard("selinux")
    said |= {"no-new-privileges"} if options.get("no-new-privileges") else set()
    said |= {"selinux"} if node.selinux and options.get("selinux-enabled") else set()
    unconfined = options.get("seccomp-profile") == "unconfined"
    security = [f"name={one}" + (",profile=unconfined" if one == "seccomp" and unconfined else "") for one in said]
    info = {
        **INFO, "SecurityOptions": security, "LiveRestoreEnabled": options.get("live-restore", False),
        "CgroupDriver": "cgroupfs" if "native.cgroupdriver=cgroupfs" in options.get("exec-opts", ()) else "systemd",
        "Driver": options.get("storage-driver", "overlayfs"),
        "LoggingDriver": options.get("log-driver", "json-file"), "Debug": options.get("debug", False),
        "DefaultRuntime": options.get("default-runtime", "runc"), "ExperimentalBuild": options.get("experimental"),
    }  # fmt: skip
    return replace(node, info=info, dockerd=Daemon(options, JSON))


WRONG_JSON: dict[str, str] = {
    "cgroup-driver": with_option(exec_opts=["x=y", "native.cgroupdriver=systemd"]),
    "cgroup-parent-from-client": with_option(
        features={"containerd-snapshotter": False, "cgroup-parent-from-client": True}
    ),
    "storage-driver": with_option(storage_driver="btrfs"),
    "seccomp-unconfined": with_option(seccomp_profile="unconfined"),
    "selinux": with_option(selinux_enabled=None),
    "dockerd-tcp": with_option(hosts=["unix:///run/slurm-hooks-docker/docker.sock", "tcp://0.0.0.0:2375"]),
    "no-new-privileges": with_option(no_new_privileges=None),
    "live-restore": with_option(live_restore=False),
    "userland-proxy": with_option(userland_proxy=None),
    "bridge": with_option(bridge=None, iptables=None, icc=False),
    "icc": with_option(bridge=None, iptables=None),
    "default-ulimits": with_option(default_ulimits={}),
    "default-runtime": with_option(default_runtime="nvidia"),
    "log-driver": with_option(log_driver="syslog", log_opts={"syslog-address": "udp://10.0.0.1:514"}),
    "dockerd-debug": with_option(debug=True, log_level="debug"),
    "dockerd-experimental": with_option(experimental=True),
}  # fmt: skip


def test_each_row_of_dockerd_is_tried() -> None:
    assert set(WRONG_JSON) == set(DOCKERD)


@pytest.mark.parametrize("name", WRONG_JSON)
def test_what_check_finds_of_dockerd_is_gone_when_it_is_applied(name: str) -> None:
    node = selinux() if name == "selinux" else GOOD
    text = WRONG_JSON[name]
    assert name in names(as_dockerd(json.loads(text), node))
    made = plan.dockerd(JSON, text, plan.Wish(asked(node)))
    assert made.undecided == () and made.then == ("run: systemctl restart slurm-hooks-docker",)
    assert names(as_dockerd(json.loads(made.texts[JSON]), node)) == set()
    assert plan.dockerd(JSON, made.texts[JSON], plan.Wish(asked(node))) == plan.Plan(made.texts)


def test_the_file_as_shipped_lacks_nothing_and_keeps_its_bytes() -> None:
    assert dockerd(SHIPPED, selinux=True) == plan.Plan({JSON: SHIPPED})


def test_a_sites_own_dockerd_keeps_its_network_its_images_and_the_rest() -> None:
    text = '{\n    "data-root": "/srv",\n    "exec-opts": ["a=b"],\n    "debug": true,\n    "dns": ["10.0.0.1"]\n}\n'
    driver = '"exec-opts": ["a=b", "native.cgroupdriver=cgroupfs"]'
    kept = f'{{\n    "data-root": "/srv",\n    {driver},\n    "dns": ["10.0.0.1"],\n'
    made = dockerd(text, shared=True)
    assert made.undecided == ()
    assert made.texts[JSON].startswith(kept)
    assert {"bridge", "storage-driver", "hosts"}.isdisjoint(json.loads(made.texts[JSON]))
    assert json.loads(dockerd("", shared=True).texts[JSON])["live-restore"] is True


@pytest.mark.parametrize(
    "text",
    ['{"storage-driver": "btrfs"}', '{"hosts": "tcp://:2375"}'],
)
def test_what_would_take_the_sites_images_or_clients_is_for_the_site_to_decide(text: str) -> None:
    made = dockerd(text, shared=True)
    assert len(made.undecided) == 1
    assert json.loads(made.texts[JSON]).items() >= json.loads(text).items()


@pytest.mark.parametrize("shared", [False, True])
def test_containerds_store_stays_where_the_site_chose_it(shared: bool) -> None:  # noqa: FBT001
    text = with_option(storage_driver=None, features={"containerd-snapshotter": True})
    assert json.loads(dockerd(text, shared=shared).texts[JSON]) == json.loads(text)


def test_an_option_of_the_command_line_is_not_written_too() -> None:
    made = dockerd(with_option(live_restore=None), flags=frozenset({"live-restore"}))
    (word,) = made.undecided
    assert word.startswith("live-restore: ") and "command line" in word
    assert made.texts == {JSON: with_option(live_restore=None)}


@pytest.mark.parametrize("text", ["[]", '{"a": 1', "x"])
def test_what_is_no_object_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        dockerd(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "b": [2]\n}'),
        ("{\n}\n", '{\n  "b": [2]\n}\n'),
        ('{"a":1}', '{"a":1, "b": [2]}'),
        ('{\n\t"a": {"b": 1},\n\t"c": 2\n}\n', '{\n\t"a": {"b": 1},\n\t"c": 2,\n\t"b": [2]\n}\n'),
        ('{"b" : null, "a": "}"}', '{"b" : [2], "a": "}"}'),
    ],
)
def test_a_member_is_set_and_the_others_keep_their_bytes(before: str, after: str) -> None:
    assert members.with_member(before, "b", [2]) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"b": 1}', "{}"),
        ('{"a": 1}', '{"a": 1}'),
        ('{\n  "b": 1,\n  "a": 2\n}', '{\n  "a": 2\n}'),
        ('{\n  "a": 2,\n  "b": {"c": "}"}\n}', '{\n  "a": 2\n}'),
        ('{"a": 1, "b": 2, "c": 3, "b": 4}', '{"a": 1, "c": 3}'),
    ],
)
def test_a_member_is_taken_away(before: str, after: str) -> None:
    assert members.without_member(before, "b") == after
