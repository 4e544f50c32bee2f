# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks check`: a good node is clean, and for each finding a node that is broken in this alone is caught."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks import check
from slurm_hooks.check import holes, live
from slurm_hooks.errors import HooksError, NodeFault
from slurm_hooks.knobs.node import Daemon, File, Finding, Node
from tests.unit.nodes import (
    ADOPT,
    BROKEN,
    BROKER,
    FILE,
    GOOD,
    OFFERING,
    SOCKET,
    chosen,
    info,
    options,
    runc,
    selinux,
    slurm,
    sshd,
    without,
)
from tests.unit.policy import ROOT
from tests.unit.test_config import as_root

MAKERS = ("Finding", "_unrun")  # whoever is called with a finding's name
ELSEWHERE = {"configuration", "icc", "hole", "live-failed", "live-image", "live-differs"}  # tests of their own below


def emitted() -> Iterator[tuple[str, str]]:
    """(name, file) of each finding that the source can make."""
    for path in [*ROOT.glob("slurm_hooks/check/*.py"), *ROOT.glob("slurm_hooks/knobs/*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in MAKERS:
                name = call.args[0]
                if isinstance(name, ast.Constant):
                    yield str(name.value), path.name
                else:
                    assert call.func.id == "Finding" and "_unrun" in path.read_text(), f"{path}: {ast.unparse(call)}"


EMITTED = list(emitted())


def found(node: Node) -> list[Finding]:
    return list(check.judged(node))


def test_a_good_node_is_clean() -> None:
    assert found(GOOD) == []
    assert found(selinux()) == []
    assert found(OFFERING) == []


@pytest.mark.parametrize(
    ("name", "node"),
    [(name, node) for name, nodes in BROKEN.items() for node in nodes],
    ids=lambda value: str(value)[:40],
)
def test_a_node_that_is_broken_in_one_thing_is_caught_by_that_alone(name: str, node: Node) -> None:
    (finding,) = found(node)
    assert finding.name == name
    assert finding.level in check.LEVELS
    assert finding.what and finding.why and finding.mend.endswith((".", ")")), finding


def test_a_unit_that_may_do_more_than_root_inside_wants_is_told_of() -> None:
    (node, _) = BROKEN["root-remap"]
    more = replace(node, units={**node.units, BROKER: {**node.units[BROKER], "RestrictNamespaces": "mnt user net"}})
    assert [finding.name for finding in found(more)] == ["root-remap", "unit-softened"]


def test_each_finding_has_a_broken_node() -> None:
    assert {name for name, _ in EMITTED} == set(BROKEN) | ELSEWHERE


def test_names_are_of_one_place_each_and_documented() -> None:
    names = [name for name, _ in EMITTED]
    assert sorted(names) == sorted(set(names))
    text = (ROOT / "docs/operators.md").read_text()
    assert [name for name in names if f"`{name}`" not in text] == []


def test_a_bridge_whose_containers_may_speak_is_two_findings() -> None:
    assert [finding.name for finding in found(options(bridge=""))] == ["bridge", "icc"]


def test_what_is_of_the_kernel_alone_is_not_asked_of_it_where_it_has_it_not() -> None:
    assert found(replace(slurm(ConstrainCores="no"), controllers=("memory", "pids"))) == []
    assert found(slurm(ConstrainDevices="no", GresTypes="(null)")) == []
    assert found(replace(GOOD, cgroup=1, cgroup_options=(), kernel="5.12.0")) == []


def test_a_profile_that_only_complains_is_told_with_its_mode() -> None:
    (finding,) = found(replace(GOOD, profiles={"slurm-hooks-container": "complain"}))
    assert finding.what == "the AppArmor profile slurm-hooks-container is in complain mode"
    assert "aa-enforce" in finding.mend


def test_a_kernel_whose_selinux_has_no_policy_is_not_asked_for_ours() -> None:
    assert found(selinux(selinux="", modules=frozenset(), info=without("apparmor").info)) == []


@pytest.mark.parametrize("said", [True, False])
def test_a_dockerd_that_does_not_tell_of_no_new_privileges_is_judged_by_its_file(*, said: bool) -> None:
    old = info(ServerVersion="20.10.24+dfsg1", SecurityOptions=without("no-new-privileges").info["SecurityOptions"])
    node = replace(old, dockerd=Daemon({**old.dockerd.options, "no-new-privileges": said}, FILE))
    assert ({finding.name for finding in found(node)} & {"no-new-privileges"} == set()) is said


def test_the_epilogs_time_has_the_grace_on_top() -> None:
    (finding,) = found(replace(slurm(EpilogTimeout="100"), site=chosen("[container]\ngrace_seconds = 30").site))
    assert "EpilogTimeout=143" in finding.mend
    assert found(slurm(EpilogTimeout="113")) == found(slurm(EpilogTimeout="65534 sec")) == []


def test_the_docker_group_matters_more_where_its_socket_is_in_reach() -> None:
    (finding,) = found(replace(GOOD, docker_group=("ann",)))
    assert finding.level == "wrong"
    (finding,) = found(replace(GOOD, docker_group=("ann",), sockets={SOCKET: File(0, 999, 0o660)}))
    assert finding.level == "weak"


def test_a_dockerd_of_the_site_may_listen_where_it_asks_for_certificates() -> None:
    (other,) = BROKEN["dockerd-tcp"][3].others
    assert found(replace(GOOD, others=(replace(other, options={"tlsverify": True}),))) == []


def test_who_lets_root_alone_into_cron_and_at_is_well() -> None:
    closed = dict.fromkeys(("/etc/cron.allow", "/etc/at.allow", "/etc/at.deny"), File(0, 0, 0o644))
    assert found(replace(GOOD, running=frozenset({"cron", "atd"}), files=closed)) == []
    assert found(replace(GOOD, running=frozenset({"atd"}), files={})) == []  # at(1): then root alone may


@pytest.mark.parametrize(
    "line",
    [ADOPT.replace("required", "sufficient"), ADOPT.replace("required", "[success=ok default=bad]"),
     ADOPT.replace("pam_slurm", "/lib/security/pam_slurm"), f"{ADOPT} action_unknown=newest"],
)  # fmt: skip
def test_a_module_that_fails_closed_is_well(line: str) -> None:
    assert found(sshd(line)) == []


def test_a_dockerd_that_is_shared_has_a_unit_of_the_sites() -> None:
    node = replace(BROKEN["unit-disabled"][1], site=BROKEN["docker-shared"][0].site)
    assert [finding.name for finding in found(node)] == ["docker-shared"]


def test_a_node_without_systemd_or_sshd_is_asked_for_neither() -> None:
    assert found(replace(GOOD, units={}, views={}, running=frozenset(), pam=())) == []


@pytest.mark.parametrize("version", ["1.3.6", "1.3.7", "1.4.3", "1.5.0-rc.3", "1.5.0", "2.0.0", "", "unknown"])
def test_a_mended_release_has_no_hole(version: str) -> None:
    assert found(runc(version)) == []


def test_a_hole_that_the_distribution_has_mended_is_none() -> None:
    old = runc("1.1.15+ds1")
    log = "runc (1.1.15+ds1-2+deb13u1): CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579"
    assert found(replace(old, mended={"runc": log})) == []
    (finding,) = found(replace(old, mended={"runc": log.replace("52565", "0")}))
    assert finding.what == "runc 1.1.15+ds1 has CVE-2025-52565"


def test_a_hole_that_nothing_of_ours_stops_is_more_than_a_note() -> None:
    hole = holes.Hole("runc", ("1.3.7",), "CVE-1", "the node is open")
    (finding,) = holes.check(GOOD, (hole,))
    assert (finding.name, finding.level, finding.what) == ("hole", "weak", "runc 1.3.6 has CVE-1")
    assert "1.3.7" in finding.mend


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What `check` finds, for its exit code."""
    these: list[Finding] = []
    monkeypatch.setattr(check, "findings", lambda **_: iter(these))
    return these


def finding(level: Any) -> Finding:
    return Finding("a-name", level, "cgroup", "what", "why", "mend")


@as_root
@pytest.mark.parametrize(
    ("levels", "status", "strict"),
    [((), 0, 0), (("note",), 0, 0), (("weak", "note"), 0, 1), (("wrong",), 1, 1), (("weak", "wrong"), 1, 1)],
)
def test_the_exit_code_is_for_monitoring(
    told: list[Finding], capsys: pytest.CaptureFixture[str], levels: tuple[str, ...], status: int, strict: int
) -> None:
    told += map(finding, levels)
    assert check.main(as_json=False) == status
    assert check.main(as_json=False, strict=True) == strict
    assert check.main(as_json=True) == status


@as_root
def test_the_worst_comes_first_each_with_why_and_how_to_mend(
    told: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    told += map(finding, ("note", "wrong"))
    check.main(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["wrong: what [a-name]", "    why", "    mend", "note: what [a-name]"]
    assert lines[-1] == "slurm-hooks check: 1 wrong, 1 note"
    check.main(as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert [list(one) for one in said] == [["name", "level", "knob", "what", "why", "mend"]] * 2


def test_only_root_is_told_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1001)
    with pytest.raises(HooksError, match="Run it as root"):
        check.main(as_json=False)


def test_a_broken_configuration_is_all_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(**_: object) -> None:
        raise NodeFault("slurm-hooks.toml", "no")

    monkeypatch.setattr("slurm_hooks.config.load", load)
    assert [(one.name, one.level) for one in check.findings()] == [("configuration", "wrong")]


class Engine:
    """A dockerd for the self-test: it has no image, or does not answer."""

    silent = False

    def __init__(self, socket: str) -> None:
        if self.silent:
            raise NodeFault("dockerd", "does not answer")

    def labelled(self, label: str) -> list[dict[str, Any]]:
        return []

    def remove(self, ids: list[str]) -> list[str]:
        return []

    def images(self) -> list[str]:
        return []

    def image(self, name: str) -> dict[str, Any] | None:
        return {"Id": "sha256:0", "RepoTags": [f"{name}:latest"]} if name == "img" else None


class Hierarchy:
    """A cgroup tree that is only written down."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, verb: str) -> Any:
        return lambda *arguments: self.done.append(
            f"{verb} {arguments[-1] if verb in ('make', 'remove') else arguments[0]}"
        )


def test_without_an_image_the_self_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "Engine", Engine)
    assert [one.name for one in live.check(GOOD)] == ["live-image"]
    assert [one.what.partition(" ")[0] for one in live.check(GOOD, "other")] == ["other"]


def test_a_self_test_that_cannot_be_made_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "silent", True)
    monkeypatch.setattr(live, "Engine", Engine)
    assert [(one.name, one.level) for one in live.check(GOOD)] == [("live-failed", "wrong")]


def test_what_differs_in_the_self_test_is_told_and_its_cgroup_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Hierarchy()
    monkeypatch.setattr(live, "Engine", Engine)
    monkeypatch.setattr(live, "_scope", lambda node: "/slurm")
    monkeypatch.setattr(live, "_differences", lambda *_: ["seccomp: mode is 0"])
    monkeypatch.setattr("slurm_hooks.cgroups.of", lambda version: tree)
    (finding,) = live.check(GOOD, "img")
    assert finding.knob == "seccomp"
    assert (finding.name, finding.what) == ("live-differs", "a container is not confined as asked: seccomp: mode is 0")
    path = "/slurm/slurm-hooks-check"
    assert tree.done == [f"make {path}", f"kill {path}", f"wait_empty {path}", f"remove {path}"]


def test_the_self_tests_cgroup_goes_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Hierarchy()
    cleared: list[str] = []

    def fails(engine: Engine) -> None:
        cleared.append("")
        if len(cleared) > 1:
            raise NodeFault("dockerd", "does not answer")

    monkeypatch.setattr(live, "Engine", Engine)
    monkeypatch.setattr(live, "_scope", lambda node: "/slurm")
    monkeypatch.setattr(live, "_clear", fails)
    monkeypatch.setattr(live, "_differences", lambda *_: 1 / 0)
    monkeypatch.setattr("slurm_hooks.cgroups.of", lambda version: tree)
    with pytest.raises((ZeroDivisionError, NodeFault)):
        list(live._tried(GOOD, "img"))
    assert [verb.partition(" ")[0] for verb in tree.done] == ["make", "kill", "wait_empty", "remove"]
