# SPDX-License-Identifier: Apache-2.0
"""Published holes of runc, containerd and moby that can be tried without harm: docs/security.md has the list.

The runtimes of the labs are not all mended (Debian 13: runc 1.1.15, containerd 1.7.24). Those that are tried
elsewhere stand there: mounts led elsewhere in test_hostile_images.py and test_nested_mounts.py, docker cp and build in
test_endpoints.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

MADE = "/tmp/attack-made"  # of root's: what runc, as root, might write to by a link of the image
IMAGES = {  # name → (what is done in the image's root, its configuration)
    "dev": (f"ln -s {MADE} dev", ""),
    "pts": (f"mkdir dev; ln -s {MADE} dev/pts; ln -s {MADE} dev/shm; ln -s {MADE} dev/mqueue", ""),
    "proc": (f"ln -s {MADE} proc; ln -s {MADE} sys", ""),
    "workdir": ("", "WORKDIR /proc/self/fd/7"),
    "user": ("", "USER 4294967296:4294967296"),
    "groups": ("mkdir etc; echo a:x:1001:1001::/:/bin/sh >etc/passwd; echo root:x:0:a >etc/group", ""),
    "labels": ("", f"LABEL containerd.io/restart.status=running containerd.io/restart.loguri=binary:///bin/rm?{MADE}"),
}
BUILD = f"""set -e; rm -rf {MADE}; mkdir {MADE}
made() {{ d=$(mktemp -d /tmp/advisory.XXXXXX); chmod 755 $d; cd $d; mkdir bin
cp "$(readlink -f "$(command -v busybox)")" bin/busybox
for program in sh cat echo id ls true sleep; do ln -s busybox bin/$program; done
eval "$2"; tar -c . >$d.tar; rm -r $d; cd /
docker -H unix://{DOCKERD} import -c 'ENV PATH=/bin' ${{3:+-c "$3"}} $d.tar advisory-$1 >/dev/null; rm $d.tar; }}
""" + "\n".join(f"made {name} '{root}' '{config}'" for name, (root, config) in IMAGES.items())
TRIED = {
    "the image's /dev is a link": "docker run --rm -t advisory-dev sh -c '[ -c /dev/null ] && echo well'",
    "links below the image's /dev": "docker run --rm -t advisory-pts sh -c '[ -c /dev/null ] && echo well'",
    "the image's /proc is a link": "docker run --rm advisory-proc sh -c '"
    "(exec 3>>/proc/sys/kernel/core_pattern) 2>/dev/null && echo open; [ -e /proc/self/status ] && echo well'",
    "a working directory in /proc": "docker run --rm advisory-workdir true",
    "a user beyond 32 bits": "docker run --rm advisory-user id -u",
    "groups of the image's choice": 'docker run --rm advisory-groups id -G; echo "$(id -G)"',
    "sockets of shims": "docker run --rm advisory-user sh -c 'cat /proc/net/unix'",
}
LOOK = f"ls -A {MADE}; stat -c '%U %a' {MADE}"


@pytest.fixture(scope="module")
def tried(cluster: Cluster) -> Iterator[dict[str, Done]]:
    """All of them, from one job, and the place of root's before and after."""
    cluster.must(cluster.node, "bash -s", stdin=BUILD)
    before = cluster.sh(cluster.node, LOOK)
    found = cluster.srun_each(TRIED)
    yield found | {"before": before, "after": cluster.sh(cluster.node, LOOK)}
    cluster.docker(cluster.node, f"rmi {' '.join(f'advisory-{name}' for name in IMAGES)}")
    cluster.must(cluster.node, f"rm -rf {MADE}")


@pytest.mark.parametrize("name", [name for name in TRIED if "link" in name])
def test_a_link_of_the_image_leads_no_mount_of_runcs_own_elsewhere(tried: dict[str, Done], name: str) -> None:
    """CVE-2026-41579; CVE-2019-19921 and CVE-2023-27561."""
    assert tried[name].out.strip() == "well", tried[name]


def test_a_link_of_the_image_lets_runc_make_nothing_on_the_node(tried: dict[str, Done]) -> None:
    """CVE-2026-41579."""
    assert tried["after"] == tried["before"]


def test_a_working_directory_of_the_image_is_no_way_out(tried: dict[str, Done]) -> None:
    """CVE-2024-21626."""
    said = tried["a working directory in /proc"]
    assert said.status != 0 and "-w /proc/self/fd/7: the image leads it to /proc" in said.err, said


def test_the_users_id_is_the_jobs_whatever_the_image_has(tried: dict[str, Done]) -> None:
    """CVE-2024-40635 and CVE-2026-46680."""
    assert tried["a user beyond 32 bits"].out == "1001\n"


def test_the_image_gives_no_groups(tried: dict[str, Done]) -> None:
    """CVE-2022-36109 and CVE-2023-25173."""
    inside, own = tried["groups of the image's choice"].out.splitlines()
    assert sorted(inside.split()) == sorted(own.split())


def test_no_socket_of_a_shim_is_in_reach(tried: dict[str, Done]) -> None:
    """CVE-2020-15257."""
    assert "containerd" not in tried["sockets of shims"].out and tried["sockets of shims"].status == 0


def test_no_label_of_the_image_reaches_containerds_own(cluster: Cluster, node: str, tried: dict[str, Done]) -> None:
    """CVE-2026-53488."""
    job = cluster.sbatch("docker run -d advisory-labels sleep 600; echo started; sleep 600", options="--mem=300")
    job.wait_for_output("started")
    container = cluster.docker(node, "ps -q --no-trunc --filter ancestor=advisory-labels").out.strip()
    address = cluster.must(node, "ls /run/containerd/containerd.sock").strip()
    said = cluster.must(node, f"ctr -a {address} -n slurm-jobs containers info {container}")
    job.cancel()
    job.wait()
    assert container in said and "restart.loguri" not in said.partition('"Spec"')[0], said
