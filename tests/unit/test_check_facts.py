# SPDX-License-Identifier: Apache-2.0
"""How `check` reads a node: what is text is read as the program reads it that it is written for."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks.check import facts, packages, processes
from slurm_hooks.knobs.node import Daemon
from slurm_hooks.settings import Mounts, Settings

COMMAND_LINES: dict[str, dict[str, Any]] = {
    "--config-file /etc/docker/slurm-jobs.json": {"config-file": "/etc/docker/slurm-jobs.json"},
    "-H fd:// --containerd=/run/c.sock": {"hosts": ["fd://"], "containerd": "/run/c.sock"},
    "-H unix:///a --host=tcp://:2375": {"hosts": ["unix:///a", "tcp://:2375"]},
    "--icc=false --live-restore --userland-proxy=true": {"icc": False, "live-restore": True, "userland-proxy": True},
    "-D -l debug": {"debug": True, "log-level": "debug"},
    "--feature cgroup-parent-from-client=true": {"features": {"cgroup-parent-from-client": True}},
    "--feature=a=false --exec-opt native.cgroupdriver=cgroupfs": {
        "features": {"a": False}, "exec-opts": ["native.cgroupdriver=cgroupfs"],
    },
    "": {},
}  # fmt: skip


@pytest.mark.parametrize(("line", "options"), COMMAND_LINES.items())
def test_dockerds_command_line_is_read_by_the_names_of_its_file(line: str, options: dict[str, Any]) -> None:
    assert processes.from_command_line(line.split()) == options


@pytest.mark.parametrize(
    ("hosts", "path", "serves"),
    [
        (["unix:///run/a.sock"], "/run/a.sock", True),
        (["unix:///run/a.sock"], "/run/docker.sock", False),
        (["unix:///var/run/docker.sock"], "/run/docker.sock", True),
        (["fd://"], "/run/docker.sock", True),
        (None, "/run/docker.sock", True),
        (None, "/run/a.sock", False),
    ],
)
def test_the_jobs_dockerd_is_told_by_its_socket(hosts: list[str] | None, path: str, *, serves: bool) -> None:
    assert processes._serves(Daemon({"hosts": hosts}, ""), path) is serves


SLAVE = """99 40 98:0 / / ro,nosuid shared:37 master:1 - ext4 /dev/root rw
113 99 0:22 / /run rw,nosuid - tmpfs tmpfs rw
114 99 8:3 / /runner rw shared:4 master:9 - ext4 /dev/sda3 rw"""


@pytest.mark.parametrize(
    ("path", "hears"), [("/", True), ("/var/lib/x", True), ("/run", False), ("/run/x", False), ("/runner/x", True)]
)
def test_a_mount_hears_of_others_where_it_is_a_slave(path: str, *, hears: bool) -> None:
    assert processes.hears(SLAVE, path) is hears


def test_what_a_process_sees_is_the_same_directory_or_not(tmp_path: Path) -> None:
    assert processes.sees(0, str(tmp_path))  # no such process
    assert processes.sees(1, "/nowhere")


@pytest.fixture
def pam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /etc/pam.d."""
    monkeypatch.setattr(facts, "PAM", str(tmp_path))
    return tmp_path


def test_a_stack_has_what_it_includes(pam: Path) -> None:
    (pam / "sshd").write_text(
        "# a comment\n@include common-account\naccount  required pam_x.so a=b # why\n"
        "account include other\n-session substack other\nauth [success=1 \\\n default=ignore] pam_y.so\n"
    )
    (pam / "common-account").write_text("account required pam_unix.so\n")
    (pam / "other").write_text("account required pam_slurm_adopt.so\nsession optional pam_systemd.so\n")
    assert list(facts._pam("sshd")) == [
        "account required pam_unix.so",
        "account required pam_x.so a=b",
        "account required pam_slurm_adopt.so",
        "session optional pam_systemd.so",
        "auth [success=1 default=ignore] pam_y.so",
    ]


def test_a_stack_that_includes_itself_ends(pam: Path) -> None:
    (pam / "sshd").write_text("@include sshd\naccount required pam_x.so\n")
    assert list(facts._pam("sshd")) == ["account required pam_x.so"]
    assert list(facts._pam("nothing")) == []


@pytest.mark.parametrize("setting", ["allow", "deny"])
def test_a_place_that_is_a_link_is_told_with_where_it_leads(tmp_path: Path, setting: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    places = (str(tmp_path / "link"), str(tmp_path / "real"))
    mounts = Mounts(allow=places) if setting == "allow" else Mounts(deny=places)
    assert facts._links(Settings(mounts=mounts)) == {str(tmp_path / "link"): str(tmp_path / "real")}


def test_a_hook_is_ours_by_its_text_and_only_where_slurmd_would_run_it(tmp_path: Path) -> None:
    script = tmp_path / "prolog"
    script.write_text("#!/bin/sh\n/usr/lib/site/check && exec /usr/lib/slurm-hooks/prolog\n")
    assert not facts.runs_us(str(script))
    script.chmod(0o755)
    assert facts.runs_us(str(script))
    script.write_text("#!/bin/sh\ntrue\n")
    assert not facts.runs_us(str(script))
    said = {"Prolog[0]": "/none", "Prolog[1]": f"{tmp_path}/pro*", "PrologFlags": "Contain", "Epilog": "(null)"}
    assert list(facts._scripts(said, "Prolog")) == [str(script)]
    assert list(facts._scripts(said, "Epilog")) == []


def test_a_socket_is_reachable_where_everyone_may_pass_what_is_above_it(tmp_path: Path) -> None:
    top = tmp_path / "closed"
    top.mkdir(mode=0o700)
    (top / "file").touch(mode=0o640)
    ((path, file),) = facts._existing([str(top / "file"), str(top / "nothing")])
    assert (path, file.mode, file.reachable) == (str(top / "file"), 0o640, False)


def test_a_change_log_is_read_where_the_package_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = gzip.open
    with gzip.open(tmp_path / "log.gz", "wt") as log:
        log.write("runc (1.1.5+ds1-1+deb12u1): CVE-2024-21626")
    asked: list[str] = []

    def open_(path: str, *arguments: Any, **words: Any) -> Any:
        asked.append(path)
        return opened(tmp_path / "log.gz" if "/runc/" in path else tmp_path / "none", *arguments, **words)

    monkeypatch.setattr(gzip, "open", open_)
    assert packages.mended(["runc", "docker-init"]) == {"runc": "runc (1.1.5+ds1-1+deb12u1): CVE-2024-21626"}
    assert asked[0] == "/usr/share/doc/runc/changelog.Debian.gz"


def test_the_few_that_install_asks_are_as_check_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_units", lambda: {"ssh.socket": {"ActiveState": "active"}})
    monkeypatch.setattr(facts, "_slurm", dict)
    few, whole = facts.few(Settings()), facts.read(Settings())
    assert "sshd" in few.running
    for name in ("site", "selinux", "controllers", "running", "pam", "sshd_asks_pam"):
        assert getattr(few, name) == getattr(whole, name)
