# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks install` as an operator runs it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest

from slurm_hooks import cli, controller, install, needs
from slurm_hooks.broker import relay
from slurm_hooks.check import processes
from slurm_hooks.install import client
from slurm_hooks.knobs.node import Daemon
from tests.unit.policy import ROOT
from tests.unit.test_config import as_root

HELD = "TaskPlugin=task/cgroup\nPrologFlags=Contain\n"
HOOKS = "".join(f"{hook}={script}\n" for hook, (_, script) in needs.HOOKS.items())
CGROUP = "ConstrainRAMSpace=yes\nConstrainCores=yes\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's files, none of which lacks anything; Slurm 24.11, no dockerd, no docker command."""
    made = tmp_path / "site"
    made.mkdir()
    (made / "slurm.conf").write_text(HELD + HOOKS)
    (made / "cgroup.conf").write_text(CGROUP)
    (made / "slurm-jobs.json").write_bytes((ROOT / "etc/docker/slurm-jobs.json").read_bytes())
    monkeypatch.setattr(install, "_missing", list)
    monkeypatch.setattr(controller, "release", lambda: "slurm-wlm 24.11.5\n")
    monkeypatch.setattr(processes, "daemons", lambda socket: (None, []))
    monkeypatch.setattr(install, "DOCKER", ())
    monkeypatch.setattr(install, "PLUGINS", ())
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return made


def run(site: Path, *words: str) -> int:
    return cli.main(
        ["install", "--slurm-conf", f"{site}/slurm.conf", "--daemon-json", f"{site}/slurm-jobs.json", *words]
    )


def texts(site: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in site.iterdir()}


@as_root
def test_where_nothing_lacks_nothing_is_done(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = texts(site)
    assert run(site) == run(site, "--check") == run(site, "--apply") == 0
    assert texts(site) == before
    assert capsys.readouterr().out.splitlines()[-1] == "slurm-hooks install: 0 written"


@as_root
def test_a_look_writes_nothing_and_says_what_it_would(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "slurm.conf").write_text(HELD)
    before = texts(site)
    assert run(site) == 1
    assert texts(site) == before
    said = capsys.readouterr().out
    assert f"+++ {site}/slurm.conf (as needed)\n" in said
    assert "+Prolog=/etc/slurm/prolog.d/50-slurm-hooks\n" in said
    assert "then: run: scontrol reconfigure.\n" in said
    assert said.endswith("slurm-hooks install: 1 to write (--apply)\n")


@as_root
def test_what_is_applied_is_needed_no_more(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "slurm.conf").write_text("TaskPlugin=task/none\n")
    (site / "cgroup.conf").unlink()
    (site / "slurm-jobs.json").write_text("{}")
    assert run(site, "--apply") == 0
    after = texts(site)
    assert {name for name in after if name.startswith("slurm.conf.")} != set()
    assert [after[name] for name in after if name.startswith("slurm-jobs.json.")] == ["{}"]
    assert not [name for name in after if name.startswith("cgroup.conf.")]
    assert run(site, "--apply") == 0
    assert texts(site) == after
    assert "3 written" in capsys.readouterr().out


@as_root
def test_a_link_is_followed_and_said(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "nfs").mkdir()
    (site / "slurm.conf").rename(site / "nfs/slurm.conf")
    (site / "nfs/slurm.conf").write_text(HELD)
    (site / "slurm.conf").symlink_to("nfs/slurm.conf")
    assert run(site, "--leave", "constrain-ram", "--apply", "--cgroup-conf", f"{site}/cgroup.conf") == 0
    assert (site / "slurm.conf").is_symlink() and "Prolog=" in (site / "nfs/slurm.conf").read_text()
    assert f"written: {site}/slurm.conf, a link to {site}/nfs/slurm.conf (before: " in capsys.readouterr().out


@as_root
def test_what_changes_between_look_and_write_is_left(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "slurm.conf").write_text(HELD)
    monkeypatch.setattr(time, "strftime", lambda *_: (site / "slurm.conf").write_text("A=1\n") and "stamp")
    assert run(site, "--apply") == 1
    assert (site / "slurm.conf").read_text() == "A=1\n"
    said = capsys.readouterr().out
    assert f"not written: {site}/slurm.conf: somebody else has changed it meanwhile. Run this again.\n" in said


@as_root
def test_a_path_may_be_named_from_where_one_is(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (site / "slurm.conf").write_text(f"Include hooks.conf\n{HELD}")
    (site / "hooks.conf").write_text(HOOKS)
    monkeypatch.chdir(site)
    assert cli.main(["install", "--slurm-conf", "slurm.conf", "--daemon-json", "slurm-jobs.json"]) == 0


@as_root
def test_a_copy_of_the_controllers_is_shown_and_not_written(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = site / "conf-cache"
    cache.mkdir()
    (cache / "slurm.conf").write_text(HELD)
    (cache / "cgroup.conf").write_text(CGROUP)
    how = ["install", "--slurm-conf", f"{cache}/slurm.conf", "--daemon-json", f"{site}/slurm-jobs.json"]
    assert cli.main([*how, "--apply"]) == 1
    assert texts(cache) == {"slurm.conf": HELD, "cgroup.conf": CGROUP}
    said = capsys.readouterr().out
    assert "+Prolog=/etc/slurm/prolog.d/50-slurm-hooks\n" in said
    assert f"not written: {cache}/slurm.conf: it is slurmd's copy of what the controller has" in said
    assert said.endswith("slurm-hooks install: 0 written, 1 not to be written here\n")


@as_root
def test_where_an_included_file_cannot_be_read_nothing_is_added(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "slurm.conf").write_text(f"Include lost.conf\n{HELD}")
    assert run(site, "--apply") == 1
    assert (site / "slurm.conf").read_text() == f"Include lost.conf\n{HELD}"
    assert f"{site}/lost.conf, which it includes, cannot be read here" in capsys.readouterr().out


@as_root
def test_for_programs_it_is_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "slurm.conf").write_text(f"{HELD}{HOOKS.replace('TaskProlog=', 'TaskProlog=/site')}")
    (site / "cgroup.conf").write_text("")
    assert run(site, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    (file,) = said["files"]
    assert (file["path"], file["written"], file["refused"]) == (f"{site}/cgroup.conf", False, "")
    assert "+ConstrainRAMSpace=yes\n" in file["diff"]
    assert len(said["undecided"]) == 1 and said["undecided"][0].startswith("TaskProlog=/site/etc/")
    assert said["then"][-1] == "restart each slurmd"


@as_root
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--leave", "nothing"], "--leave nothing: no finding that is written"),
        (["--slurm-release", "newest"], "--slurm-release newest: no release"),
        (["--slurm-conf", "/nowhere/slurm.conf"], "/nowhere/slurm.conf: it cannot be read"),
    ],
)
def test_a_wish_that_is_none_is_one_line(
    site: Path, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert run(site, *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"slurm-hooks: {error}")


@as_root
def test_an_option_of_a_running_dockerds_command_line_is_left(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon({}, f"{site}/slurm-jobs.json", flags=frozenset({"live-restore"}))
    monkeypatch.setattr(processes, "daemons", lambda socket: (processes.Running(1, daemon), []))
    (site / "slurm-jobs.json").write_text((site / "slurm-jobs.json").read_text().replace('"live-restore": true,', ""))
    assert cli.main(["install", "--slurm-conf", f"{site}/slurm.conf"]) == 1
    assert "to decide: live-restore: " in capsys.readouterr().out


@as_root
def test_a_docker_command_is_run_as_nobody_and_only_where_it_is_roots() -> None:
    with tempfile.TemporaryDirectory() as where:  # pytest's own are closed to nobody
        Path(where).chmod(0o711)
        docker = Path(where, "docker")
        docker.write_text('#!/bin/sh\necho "Docker version 26.1.5, build $(id -u) $HOME"\n')
        docker.chmod(0o755)
        assert install._version_of(str(docker)) == "Docker version 26.1.5, build 65534 /nonexistent\n"
        docker.chmod(0o775)
        assert install._version_of(str(docker)).startswith("nothing: ")


@pytest.mark.parametrize(
    ("said", "engine", "words"),
    [
        ("Docker version 26.1.5+dfsg1, build a72d7cd\n", "26.1.5+dfsg1", "/usr/bin/docker is 26.1: it will do"),
        ("Docker version 20.10.24, build 297e128\n", "29.0.1", "which refuses a command older than 25"),
        ("Docker version 29.1.0, build x\n", "24.0.5", "too old for a command from 29 on"),
        ("Docker version 29.1.0, build x\n", "28.5.2", "newer than any that was run"),
        ("Docker version 19.03.1, build x\n", "", "older than any that was run"),
        ("podman version 4.9.3\n", "26.1.5", "is no docker command, it says 'podman version 4.9.3'"),
    ],
)
def test_a_docker_command_is_judged_by_what_was_run(said: str, engine: str, words: str) -> None:
    assert words in client.judged("/usr/bin/docker", said, engine)


def test_the_docker_commands_that_were_run_are_those_of_the_page() -> None:
    (row,) = [
        line for line in (ROOT / "docs/compatibility.md").read_text().splitlines() if line.startswith("| docker CLI")
    ]
    assert "20.10.24" in row and "28.5" in row and client.RUN == ((20, 10), (28, 5))
    assert (
        client.SHOULD.count("20.10 to 28.5") == 1
        and relay.TESTED == ((1, 41), (1, 44))
        and "1.41 to 1.44" in client.SHOULD
    )
