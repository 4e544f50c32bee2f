# SPDX-License-Identifier: Apache-2.0
"""What a container finds in /etc: the user in passwd and group, its loopback in hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slurm_hooks import linux, stages
from slurm_hooks.broker import etc
from slurm_hooks.knobs import identity, network
from tests.unit.policy import JOB, cli, decide

ROOT = "root:x:0:0:root:/root:/bin/sh\n"
LINE = f"ada:x:{JOB.uid}:{JOB.gid}:ada:/tmp:/bin/sh\n"
GROUP = f"ada:x:{JOB.gid}:\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LINE),
        (ROOT, ROOT + LINE),
        (ROOT.rstrip(), ROOT + LINE),
        (f"ada:x:7:7::/:/bin/sh\n{ROOT}", f"ada:x:7:7::/:/bin/sh\n{ROOT}{LINE}"),
        (f"{ROOT}node:x:{JOB.uid}:7::/home/node:/bin/sh\n", None),
        (f"{ROOT}\n# no line\n+\n", f"{ROOT}\n# no line\n+\n{LINE}"),
    ],
    ids=["no file", "a line more", "no newline at its end", "another of that name", "its own of that uid", "odd lines"],
)
def test_the_images_own_lines_stay_and_the_user_has_one(text: str, expected: str | None) -> None:
    made = identity.passwd(text.encode(), "ada", JOB.uid, JOB.gid, "/tmp")
    assert made == (expected.encode() if expected is not None else None)


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two layers of an image, the upper one empty; stages lie below the test's own directory."""
    monkeypatch.setattr(stages.directory, "__defaults__", (str(tmp_path / "run"),))
    found = [tmp_path / "upper", tmp_path / "lower"]
    for layer in found:
        (layer / "etc").mkdir(parents=True)
    (found[1] / "etc" / "passwd").write_text(ROOT)
    return found


def written(layers: list[Path], home: str = "", binds: tuple[str, ...] = ()) -> dict[str, str]:
    made = etc.write([str(layer) for layer in layers], JOB, "ada", home, binds, (), alone=False)
    return {target: Path(path).read_text() for target, path in made.items()}


def test_both_files_are_the_images_with_a_line_more(layers: list[Path]) -> None:
    assert written(layers) == {"/etc/passwd": ROOT + LINE, "/etc/group": GROUP}


@pytest.mark.parametrize(
    ("binds", "expected"),
    [((), "/tmp"), (("/data",), "/tmp"), (("/home/ada",), "/home/ada"), (("/home",), "/home/ada")],
    ids=["nothing mounted", "elsewhere", "itself", "above it"],
)
def test_home_is_the_jobs_own_where_it_is_mounted(layers: list[Path], binds: tuple[str, ...], expected: str) -> None:
    assert f":{expected}:/bin/sh" in written(layers, "/home/ada", binds)["/etc/passwd"]


@pytest.mark.parametrize("bind", ["/etc/passwd", "/etc"])
def test_what_the_user_mounts_there_is_the_users(layers: list[Path], bind: str) -> None:
    assert "/etc/passwd" not in written(layers, binds=(bind,))


@pytest.mark.parametrize("what", ["link", "fifo", "directory", "etc is a link", "large"])
def test_what_is_no_plain_file_of_the_image_is_left_alone(layers: list[Path], what: str) -> None:
    upper = layers[0] / "etc" / "passwd"
    match what:
        case "link":
            upper.symlink_to("/etc/shadow")
        case "fifo":
            os.mkfifo(upper)
        case "directory":
            upper.mkdir()
        case "etc is a link":
            upper.parent.rmdir()
            upper.parent.symlink_to("/dev")
        case "large":
            upper.write_bytes(b"#" * (etc.MOST_BYTES + 1))
    assert "/etc/passwd" not in written(layers)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a whiteout")
def test_a_file_that_an_upper_layer_took_away_is_not_there(layers: list[Path]) -> None:
    os.mknod(layers[0] / "etc" / "passwd", 0o20000, os.makedev(0, 0))
    assert written(layers)["/etc/passwd"] == LINE


def test_an_image_that_cannot_be_looked_into_keeps_its_own(layers: list[Path]) -> None:
    assert written([]) == {}


def test_its_files_go_without_a_mount_namespace(layers: list[Path], tmp_path: Path) -> None:
    assert len(etc.write([str(layer) for layer in layers], JOB, "ada", "", (), ())) == len(stages.OWN)
    (top,) = (tmp_path / "run" / "stage").iterdir()
    (top / "0").mkdir()
    assert not stages.remove_own(str(top)) and (top / "0").is_dir()
    (top / "0").rmdir()
    assert stages.remove_own(str(top)) and not top.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="reads its own mounts as root does")
def test_a_stage_that_another_removes_at_the_same_time_is_gone(
    layers: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(layers)
    (top,) = (tmp_path / "run" / "stage").iterdir()
    (top / "0").mkdir()
    unlink = os.unlink

    def too_late(path: str) -> None:
        unlink(path)
        raise FileNotFoundError

    monkeypatch.setattr(os, "unlink", too_late)
    stages.remove(str(top))
    assert not top.exists()


@pytest.mark.parametrize(("said", "home"), [("/home/ada", "/home/ada"), ("/x:0:0", ""), ("x", ""), ("/a\nb", "")])
def test_a_home_that_would_be_no_field_of_passwd_is_none(monkeypatch: pytest.MonkeyPatch, said: str, home: str) -> None:
    monkeypatch.setattr(linux, "read", lambda _: f"A=1\0HOME={said}\0B=2\0")
    assert etc.home_of(7) == home


def test_one_without_a_network_finds_its_loopback_and_nothing_else_in_hosts(layers: list[Path]) -> None:
    (layers[1] / "etc" / "hosts").write_text("10.0.0.1 elsewhere\n")
    made = etc.write([str(layer) for layer in layers], JOB, "ada", "", (), ())
    assert Path(made["/etc/hosts"]).read_bytes() == network.LOOPBACK


@pytest.mark.parametrize("taken", ["/etc/hosts", "/etc"])
def test_a_mount_of_the_users_at_hosts_stays(layers: list[Path], taken: str) -> None:
    assert "/etc/hosts" not in etc.write([str(layer) for layer in layers], JOB, "ada", "", (taken,), ())


def test_dockerd_makes_the_namespace_where_hosts_is_not_ours() -> None:
    decision = decide(cli())
    assert decision.fields["NetworkDisabled"] is True
    assert "NetworkDisabled" not in decision.body({})
    assert decision.body({}, own={"/etc/hosts": "/stage/hosts"})["NetworkDisabled"] is True
