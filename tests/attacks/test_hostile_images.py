# SPDX-License-Identifier: Apache-2.0
"""Images whose links lead a mount elsewhere: runc, as root, makes the target along them.

With /work → /dev a mount at /work/null becomes the container's /dev/null, and runc opens it as root. The images lie on
the node as a site's own would that took one from somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD
from tests.cluster.slurm import Cluster
from tests.labs.base import Done

LINKS = """work:/dev up:../../dev chain:link link:data/l data/l:/dev back:/proc/../data root:/ alias:/data etc2:/etc
bin2:usr/bin2 var/run:/run""".replace("\n", " ")
IMAGE = f"""set -e; d=$(mktemp -d /tmp/hostile.XXXXXX); chmod 755 $d; cd $d; mkdir -p bin data usr/bin2 var run
chmod 777 data; mkdir -m 700 closed; chown 5 closed
cp "$(readlink -f "$(command -v busybox)")" bin/busybox
for program in sh echo cat true; do ln -s busybox bin/$program; done
for link in {LINKS}; do ln -s "${{link#*:}}" "${{link%%:*}}"; done
tar -c . >$d.tar; rm -r $d; into() {{ docker -H unix://{DOCKERD} import -c 'ENV PATH=/bin' "$@"; }}
into $d.tar hostile; into -c 'WORKDIR /alias/bob/attack-made' $d.tar hostile-workdir
into -c 'VOLUME /dev/sub' $d.tar hostile-volume; rm $d.tar"""
MINE = "mkdir -p $HOME/m; cd $HOME; echo mine > m/mine; "
REFUSED = {
    "a file as /dev/null": "docker run --rm -v $PWD/m/mine:/work/null hostile true",
    "all of /dev": "docker run --rm -v $PWD/m:/work hostile true",
    "upwards": "docker run --rm -v $PWD/m:/up/shm hostile true",
    "a chain": "docker run --rm -v $PWD/m:/chain/null hostile true",
    "through proc": "docker run --rm -v $PWD/m:/back hostile true",
    "the root": "docker run --rm -v $PWD/m:/root hostile true",
    "a tmpfs over /dev": "docker run --rm --tmpfs /work hostile true",
    "into another mount": "docker run --rm -v $PWD/m:/data -v $PWD/m:/alias/sub hostile true",
    "over another mount": "docker run --rm -v $PWD/m:/data -v $PWD/m:/alias hostile true",
    "docker's own files": "docker run --rm -v $PWD/m:/etc2 hostile true",
    "a directory made as root": "docker run --rm -v /home:/data hostile-workdir true",
    "a directory made as root, by -w": "docker run --rm -v /home:/data -w /alias/bob/attack-made hostile true",
    "a volume of the image's own": "docker run --rm hostile-volume true",
}
WELL = {
    "in /run": "docker run --rm -v $PWD/m:/var/run/sub hostile cat /run/sub/mine",
    "behind a link": "docker run --rm -v $PWD/m:/bin2/m hostile cat /usr/bin2/m/mine",
    "in a directory that its owner alone may search": "docker run --rm -v $PWD/m:/closed/m hostile echo mine",
    "beside": "docker run --rm -v $PWD/m:/data hostile cat /alias/mine",
}
LOOK = "ls -d /home/bob/attack-made; find /home/ann -user root; true"


@pytest.fixture(scope="module")
def done(cluster: Cluster) -> Iterator[dict[str, Done]]:
    """All of them, from one job."""
    cluster.must(cluster.node, IMAGE)
    cluster.must(
        cluster.node, "echo bob > /home/bob/attacked; chown bob /home/bob/attacked; chmod 600 /home/bob/attacked"
    )
    before = cluster.must(cluster.node, LOOK)
    scripts = {name: MINE + script for name, script in (REFUSED | WELL).items()}
    found = cluster.srun_each(scripts | {"left": "docker ps -a"})
    yield found | {"before": Done(0, before, ""), "after": cluster.sh(cluster.node, LOOK)}
    cluster.must(cluster.node, "rm -rf /home/ann/m")
    cluster.docker(cluster.node, "rmi hostile hostile-workdir hostile-volume")


@pytest.mark.parametrize("name", REFUSED)
def test_a_mount_led_elsewhere_is_refused_before_the_start(done: dict[str, Done], name: str) -> None:
    assert "the image leads it to" in done[name].err, done[name]


@pytest.mark.parametrize("name", WELL)
def test_a_usual_link_is_well(done: dict[str, Done], name: str) -> None:
    assert done[name].out == "mine\n", done[name]


def test_nothing_was_made_and_nothing_is_left(done: dict[str, Done]) -> None:
    assert done["after"].out == done["before"].out
    assert len(done["left"].out.splitlines()) == 1, done["left"]


def test_dockerd_itself_is_led_elsewhere(cluster: Cluster, node: str, done: dict[str, Done]) -> None:
    said = cluster.docker(node, "run --rm --network none -v /home/ann/m:/work/inner hostile cat /dev/inner/mine")
    assert said.out == "mine\n", said


MOVE = "busybox mv /data/a /data/b; busybox ln -s /dev /data/a; echo moved"


@pytest.fixture
def writable(cluster: Cluster, node: str) -> Iterator[None]:
    """A site whose containers may write to their image."""
    with cluster.site(node, "[container]\nreadonly_root = false"):
        yield


@pytest.mark.usefixtures("writable", "done")
def test_a_link_that_the_container_made_itself_is_refused_at_the_next_start(cluster: Cluster) -> None:
    said = cluster.srun(
        f"{MINE} docker create --name again -v $PWD/m:/data/a/inner hostile sh -c '{MOVE}'; "
        "docker start -a again; docker start again"
    )
    assert "moved\n" in said.out, said
    assert "the image leads it to /dev" in said.err, said
