# SPDX-License-Identifier: Apache-2.0
"""A mount in a mount: on its way to the inner target runc, as root, follows the links of whoever owns the outer one.

A link to /dev makes the inner mount the container's /dev; runc then opens the user's own /dev/null, a link to any
file, as root, and hands it to the container as its output. And what is missing on the way root makes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

LINKS = "rm -rf a bad; mkdir -p a bad; ln -s /dev a/l"
ATTACKS = {
    "a file opened as root": f"{LINKS}; ln -s /h/bob/attacked bad/null; "
    "docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l -v /home:/h img sh -c 'echo ann >&2'",
    "the kernel's levers": f"{LINKS}; ln -s /proc/sysrq-trigger bad/null; "
    "docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l img echo h",
    "devices in the user's home": f"{LINKS}; docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l img true",
    "by --mount": f"{LINKS}; docker run --rm --mount type=bind,source=$PWD/a,target=/a "
    "--mount type=bind,source=$PWD/bad,target=/a/l img true",
    "by unclean targets": f"{LINKS}; docker run --rm -v $PWD/a:/a/ -v $PWD/bad://a/./l img true",
    "a single file": f"{LINKS}; touch bad/f; docker run --rm -v $PWD/a:/a -v $PWD/bad/f:/a/l/null img true",
    "a tmpfs": f"{LINKS}; docker run --rm -v $PWD/a:/a --tmpfs /a/l img true",
    "the container's /sys": "rm -rf a bad; mkdir -p a bad; ln -s /sys a/l; "
    "docker run --rm -v $PWD/a:/a -v $PWD/bad:/a/l/fs img true",
    "a mount point in another's home": "docker run --rm -v /home:/h -v $PWD:/h/bob/attack-made img true",
    "docker's own file": "rm -rf a; mkdir a; ln -s /dev/null a/hostname; docker run --rm -v $PWD/a:/etc img true",
    "docker's own program": "rm -rf a; mkdir a; ln -s /dev/null a/docker-init; "
    "docker run --rm --init -v $PWD/a:/sbin img true",
}
SCRATCH = (
    "rm -rf a; mkdir a; ln -s /dev a/tmp; docker run --rm -v $PWD/a:/var img sh -c '[ -c /dev/null ] && echo well'"
)
BESIDE = "rm -rf a; mkdir a; docker run --rm -v $PWD/a:/tmp/a img touch /tmp/a/f; ls a"
WORKDIR = "docker run --rm -v /home:/h -w /h/bob/attack-made img true"
LOOK = """ls -d /home/bob/attack-made; cat /home/bob/attacked; find /home/ann -user root
dmesg | grep -c 'sysrq: HELP'; true"""
CLEAN = "rm -rf /home/bob/attack-made /home/bob/attacked /home/ann/a /home/ann/bad"


@pytest.fixture(scope="module")
def target(cluster: Cluster) -> Iterator[None]:
    """A file that is bob's alone."""
    cluster.must(cluster.node, f"{CLEAN}; echo bob > /home/bob/attacked; chown bob /home/bob/attacked")
    cluster.must(cluster.node, "chmod 600 /home/bob/attacked; chmod 700 /home/bob")
    yield
    cluster.must(cluster.node, CLEAN)


@pytest.fixture(scope="module")
def done(cluster: Cluster, target: None) -> dict[str, Done]:
    """All of them, from one job, and what the node looks like then."""
    before = cluster.must(cluster.node, LOOK)
    found = cluster.srun_each(ATTACKS | {"scratch": SCRATCH, "beside": BESIDE})
    return found | {"before": Done(0, before, ""), "after": cluster.sh(cluster.node, LOOK)}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_mount_in_a_mount_is_refused(done: dict[str, Done], name: str) -> None:
    assert "lies in it, and could be led elsewhere. Mount side by side." in done[name].err, done[name]


def test_nothing_of_root_or_another_was_touched(done: dict[str, Done]) -> None:
    assert done["after"].out == done["before"].out


def test_our_own_scratch_is_not_led_elsewhere(done: dict[str, Done]) -> None:
    assert done["scratch"].out == "well\n", done["scratch"]


def test_a_mount_in_a_fresh_tmpfs_works(done: dict[str, Done]) -> None:
    assert done["beside"].out == "f\n", done["beside"]


def test_a_working_directory_is_not_made_as_root(cluster: Cluster, node: str, target: None) -> None:
    cluster.srun(WORKDIR)
    assert cluster.sh(node, "ls -d /home/bob/attack-made").out == ""


def test_dockerd_itself_is_led_elsewhere_unless_its_runc_is_mended(cluster: Cluster, node: str, target: None) -> None:
    script = ATTACKS["a file opened as root"].replace("docker run", "sudo_docker")
    prepare, _, options = script.partition("; sudo_docker ")
    done = cluster.sh(node, f"cd /home/ann; {prepare}; docker -H unix://{DOCKERD} run --network none -u 1001 {options}")
    is_mended = "container's /dev/null is invalid" in done.err  # runc from 1.2.8 and 1.3.3 on looks first
    written = cluster.must(node, "cat /home/bob/attacked; rm -rf /home/ann/a /home/ann/bad")
    assert written == ("bob\n" if is_mended else "ann\n"), done
