# SPDX-License-Identifier: Apache-2.0
"""Where the links of an image lead a container's mounts: followed in real layers, as overlayfs merges them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from slurm_hooks.broker import rootfs
from slurm_hooks.errors import Refused

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted attributes need root")


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Three, upmost first; the lowest has what most images have."""
    found = [tmp_path / name for name in ("upper", "middle", "lowest")]
    for layer in found:
        layer.mkdir()
    lowest = found[-1]
    for directory in ("usr/bin", "run", "var", "etc", "data/inner"):
        (lowest / directory).mkdir(parents=True)
    (lowest / "bin").symlink_to("usr/bin")
    (lowest / "var/run").symlink_to("/run")
    (lowest / "var/lock").symlink_to("../run/lock")
    (lowest / "file").touch()
    return found


def trail(layers: list[Path], target: str) -> list[str]:
    return rootfs.Walk([str(layer) for layer in layers]).trail(target)


def judged(layers: list[Path], binds: list[str], others: list[str] | None = None) -> None:
    rootfs.judge(rootfs.Walk([str(layer) for layer in layers]).trails([*binds, *(others or [])]), binds)


@pytest.mark.parametrize(
    ("target", "lands"),
    [
        ("/data", "/data"),
        ("/data/inner/new/deep", "/data/inner/new/deep"),
        ("/nowhere/../data", "/data"),
        ("/file/x", "/file/x"),
        ("/bin/x", "/usr/bin/x"),
        ("/var/run/x", "/run/x"),
        ("/var/lock", "/run/lock"),
        ("/../../data", "/data"),
    ],
)
def test_a_target_lands_where_the_links_lead(layers: list[Path], target: str, lands: str) -> None:
    assert trail(layers, target)[-1] == lands


def test_a_usual_image_is_well(layers: list[Path]) -> None:
    judged(layers, ["/bin/x", "/work", "/data"], ["/run", "/tmp", "/var/tmp", "/etc/hosts"])


@pytest.mark.parametrize("link", ["/dev", "dev", "../dev", "/dev/../dev/shm", "/proc/self/cwd", "/sys/fs", "/"])
def test_a_link_to_the_containers_own_is_refused(layers: list[Path], link: str) -> None:
    (layers[1] / "work").symlink_to(link)
    for target in ("/work", "/work/null") if link != "/" else ("/work", "/work/dev/null"):
        with pytest.raises(Refused, match="the image leads it to"):
            judged(layers, [target])


def test_a_way_through_proc_is_refused_wherever_it_ends(layers: list[Path]) -> None:
    (layers[1] / "work").symlink_to("/proc/self/root/data")
    (layers[1] / "back").symlink_to("/dev/../data")
    for target in ("/work", "/back"):
        with pytest.raises(Refused):
            judged(layers, [target])


def test_a_chain_of_links_is_followed_to_its_end(layers: list[Path]) -> None:
    (layers[2] / "a").symlink_to("data/b")
    (layers[1] / "data").mkdir()
    (layers[1] / "data/b").symlink_to("../data/inner/c")
    (layers[2] / "data/inner/c").symlink_to("/dev")
    with pytest.raises(Refused, match="leads it to /dev"):
        judged(layers, ["/a/null"])


def test_a_circle_ends(layers: list[Path]) -> None:
    (layers[0] / "x").symlink_to("y")
    (layers[0] / "y").symlink_to("x")
    with pytest.raises(Refused, match="too many links"):
        judged(layers, ["/x/z"])


def test_looks_are_bounded(layers: list[Path]) -> None:
    with pytest.raises(Refused, match="too many layers and links"):
        trail([layers[1]] * 3 + [layers[2]], "/data/.." * 6000)


def test_another_mounts_place_is_refused(layers: list[Path]) -> None:
    (layers[1] / "alias").symlink_to("/data")
    for target in ("/alias", "/alias/inner"):
        with pytest.raises(Refused, match="leads it to the mount at /data"):
            judged(layers, ["/data", target])
        with pytest.raises(Refused, match="leads it to the mount at /data"):
            judged(layers, ["/data"], [target])


def test_dockers_own_files_do_not_lie_in_a_mount(layers: list[Path]) -> None:
    (layers[1] / "alias").symlink_to("/etc")
    with pytest.raises(Refused, match="a mount at /etc/hosts: the image leads it to the mount at /alias"):
        judged(layers, ["/alias"], ["/etc/hosts"])


def test_two_scratch_places_may_be_one(layers: list[Path]) -> None:
    (layers[1] / "var").mkdir()
    (layers[1] / "var/tmp").symlink_to("/tmp")
    judged(layers, ["/work"], ["/tmp", "/var/tmp"])


def test_an_upper_directory_hides_a_lower_link(layers: list[Path]) -> None:
    (layers[2] / "work").symlink_to("/dev")
    (layers[1] / "work").mkdir()
    judged(layers, ["/work/null"])


def test_an_upper_link_hides_a_lower_directory(layers: list[Path]) -> None:
    (layers[2] / "work").mkdir()
    (layers[1] / "work").symlink_to("/dev")
    with pytest.raises(Refused):
        judged(layers, ["/work/null"])


def test_a_lower_link_does_not_merge_with_an_upper_directory(layers: list[Path]) -> None:
    (layers[0] / "work").mkdir()
    (layers[1] / "work").symlink_to("/data")
    (layers[2] / "data/sub").symlink_to("/dev")
    judged(layers, ["/work/sub"])


@as_root
def test_a_whiteout_hides_what_is_below(layers: list[Path]) -> None:
    (layers[2] / "work").symlink_to("/dev")
    os.mknod(layers[1] / "work", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    judged(layers, ["/work/null"])


@as_root
def test_an_opaque_directory_hides_what_is_below(layers: list[Path]) -> None:
    (layers[2] / "data/sub").symlink_to("/dev")
    (layers[1] / "data").mkdir()
    os.setxattr(layers[1] / "data", "trusted.overlay.opaque", b"y")
    judged(layers, ["/data/sub/null"])


@as_root
@pytest.mark.parametrize(("mark", "value"), [("redirect", b"/dev"), ("opaque", b"x"), ("whatever", b"")])
def test_marks_of_an_images_own_are_refused(layers: list[Path], mark: str, value: bytes) -> None:
    (layers[1] / "data").mkdir()
    os.setxattr(layers[1] / "data", f"trusted.overlay.{mark}", value)
    with pytest.raises(Refused, match="overlayfs marks of their own"):
        judged(layers, ["/data/x"])


@pytest.mark.parametrize(
    ("places", "refused"),
    [(["/w"], False), (["/data"], False), (["/data/bob"], True), (["/dev/shm"], True), (["/proc/self/fd/7"], True)],
)
def test_a_working_directory_is_not_made_behind_a_link(places: list[str], refused: bool) -> None:  # noqa: FBT001
    if not refused:
        rootfs.judge_directory("/w", places, ["/data"])
        return
    with pytest.raises(Refused, match=r"^-w /w: the image leads it to"):
        rootfs.judge_directory("/w", places, ["/data"])
