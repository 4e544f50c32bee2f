# SPDX-License-Identifier: Apache-2.0
"""The GPUs of a job are those of its containers. Slurm is told that two character devices of the node are GPUs.

What a job may open the kernel says, by Slurm's own fence around it (ConstrainDevices=yes): containers are compared with
it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD
from tests.cluster.gres import FIRST, FPGA, MAKE, NODES, NUMBERS, SECOND, with_gpus
from tests.cluster.slurm import Cluster
from tests.labs.base import Done


def opens(word: str) -> str:
    """A script: `word` and the GPUs that it can open."""
    return f"for d in {FIRST} {SECOND} {FPGA}; do (: <>$d) 2>/dev/null && echo {word} $d; done; true"


def said(text: str, word: str) -> list[str]:
    """What the script said after a word."""
    return [line.removeprefix(f"{word} ") for line in text.splitlines() if line.startswith(f"{word} ")]


@pytest.fixture(scope="module")
def gpus(cluster: Cluster) -> Iterator[None]:
    """A node with two GPUs and an FPGA."""
    with with_gpus(cluster):
        yield


# A job that starts when its neighbour has its GPU as well, and says by which way it gets at which GPU.
NEIGHBOUR = f"""touch here-{{me}}; until [ -e here-{{other}} ]; do sleep 0.1; done
{opens("job")}
docker run --rm img sh -c '{opens("nothing")}'
docker run --rm --gpus all img sh -c '{opens("all")}'
for d in {FIRST} {SECOND} {FPGA}; do docker run --rm --device $d img sh -c '{opens("device")}'; done
docker run -d --gpus 1 --name kept{{me}} img sleep 600 >/dev/null
docker exec kept{{me}} sh -c '{opens("exec")}'
docker restart -t 0 kept{{me}} >/dev/null; docker exec kept{{me}} sh -c '{opens("restarted")}'
touch done-{{me}}"""


def test_each_of_two_jobs_has_its_own_gpu_in_every_way(cluster: Cluster, gpus: None, node: str) -> None:
    jobs = [
        cluster.sbatch(NEIGHBOUR.format(me=me, other=other), options="--gres=gpu:1 --mem=300")
        for me, other in (("a", "b"), ("b", "a"))
    ]
    cluster.wait(node, "[ -e /home/ann/done-a ] && [ -e /home/ann/done-b ]", "the end of both jobs", within=240)
    verdicts = [job.wait()["verdict"] for job in jobs]
    texts = [job.output for job in jobs]
    cluster.must(node, "rm -f here-* done-*", user="ann")
    assert verdicts == ["clean", "clean"]
    given = [said(text, "job") for text in texts]
    if cluster.release == (22, 5):  # it lets a job have the devices of a GRES of which it has none
        given = [[path for path in paths if path != FPGA] for paths in given]
    assert sorted(given) == sorted([[FIRST], [SECOND]]), texts
    for text, (own,), job in zip(texts, given, jobs, strict=True):
        assert {word: said(text, word) for word in ("all", "device", "exec", "restarted", "nothing")} == {
            "all": [own], "device": [own], "exec": [own], "restarted": [own], "nothing": [],
        }, text  # fmt: skip
        for other in {FIRST, SECOND, FPGA} - {own}:
            assert f"--device {other}: this job was given {own}. Ask Slurm for it" in text
        assert job.events("prolog")[0]["gpus"] == [own]


DOCKER_PY = f"""/usr/bin/python3 - <<'E'
import docker
ask = [docker.types.DeviceRequest(count=1, capabilities=[["gpu"]])]
script = '''{opens("py")}'''
print(docker.from_env().containers.run("img", ["sh", "-c", script], device_requests=ask, remove=True).decode())
E"""
BOTH = {
    "the first": f"docker run --rm --gpus 1 img sh -c '{opens('it')}'",
    "by id": f"""docker run --rm --gpus '"device=1"' img sh -c '{opens("it")}'""",
    "all": f"docker run --rm --gpus all img sh -c '{opens('it')}'",
    "docker-py": DOCKER_PY,
    "another place": f"docker run --rm --device {SECOND}:/dev/x/y:r img sh -c "
    "'(: </dev/x/y) && echo it reads; (: >/dev/x/y) 2>/dev/null || echo it writes not'",
    "the usual ones": "docker run --rm --gpus all img find /dev -xdev '(' -type c -o -type b ')'",
    "with a terminal": f"script -qec 'docker run --rm -t --gpus 1 img ls {FIRST}' /dev/null | tr -d '\\r'",
    "too many": "docker run --rm --gpus 3 img true",
    "no such id": """docker run --rm --gpus '"device=2"' img true""",
    "an FPGA": f"docker run --rm --device {FPGA} img true",
    "over /dev/null": f"docker run --rm --device {FIRST}:/dev/null img true",
    "in a mount": f"docker run --rm -v $PWD:/w --device {FIRST}:/w/x img true",
    "mknod": f"docker run --rm --gpus all img mknod /tmp/x c {NODES[FIRST]}",
}


@pytest.fixture(scope="module")
def both(cluster: Cluster, gpus: None) -> dict[str, Done]:
    """All of them, from one job that has both GPUs and the FPGA."""
    return cluster.srun_each(BOTH, options="--gres=gpu:2,fpga:1 --mem=400")


@pytest.mark.parametrize(
    ("name", "found"),
    [("the first", [FIRST]), ("by id", [SECOND]), ("all", [FIRST, SECOND])],
)
def test_gpus_are_counted_within_the_jobs_own(both: dict[str, Done], name: str, found: list[str]) -> None:
    assert said(both[name].out, "it") == found, both[name]


def test_a_terminal_is_no_device_too_many(both: dict[str, Done]) -> None:
    assert both["with a terminal"].out == f"{FIRST}\n", both["with a terminal"]


def test_device_requests_of_docker_py_are_gpus(both: dict[str, Done]) -> None:
    assert said(both["docker-py"].out, "py") == [FIRST], both["docker-py"]


def test_a_device_may_have_another_name_and_be_read_alone(both: dict[str, Done]) -> None:
    assert said(both["another place"].out, "it") == ["reads", "writes not"], both["another place"]


def test_there_is_no_other_node(both: dict[str, Done]) -> None:
    usual = {f"/dev/{name}" for name in ("full", "null", "random", "tty", "urandom", "zero")}
    assert set(both["the usual ones"].out.split()) == usual | {FIRST, SECOND}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("too many", f"--gpus 3: this job was given {FIRST}, {SECOND}. Ask Slurm for it: --gres=gpu:N."),
        ("no such id", "--gpus device=2: the ids of this job's GPUs are 0 to 1. Write --gpus all."),
        ("an FPGA", f"--device {FPGA}: this job was given {FIRST}, {SECOND}. Ask Slurm for it"),
        ("over /dev/null", f"--device {FIRST}:/dev/null: its place is a free name below /dev."),
        ("in a mount", f"--device {FIRST}:/w/x: its place is a free name below /dev."),
        ("mknod", "mknod: /tmp/x: Operation not permitted"),
    ],
)
def test_more_is_refused_in_words(both: dict[str, Done], name: str, words: str) -> None:
    assert words in both[name].err, both[name]


def test_a_job_without_gpus_gets_none(cluster: Cluster, gpus: None, node: str) -> None:
    done = cluster.srun(f"docker run --rm --gpus all img true; docker run --rm --device {FIRST} img true")
    for flag in ("--gpus all", f"--device {FIRST}"):
        assert f"{flag}: this job was given no GPU, and no other device is offered. Ask Slurm" in done.err, done


def test_the_sites_own_nodes_come_with_a_gpu_and_not_without(cluster: Cluster, gpus: None, node: str) -> None:
    control = "/dev/lab-control"  # of the vendor's driver, and none of Slurm's GRES
    look = f"img sh -c 'test -c {control} && echo there || echo away'"
    cluster.must(node, f"mknod -m 666 {control} c 1 3")
    try:
        with cluster.site(node, f"[devices]\nwith_gpu = ['{control}', '/dev/lab-none']"):
            done = cluster.srun(f"docker run --rm --gpus 1 {look}; docker run --rm {look}", options="--gres=gpu:1")
    finally:
        cluster.must(node, f"rm {control}")
    assert done.out.splitlines()[-2:] == ["there", "away"], done


def test_a_name_that_means_another_device_meanwhile_gives_none(cluster: Cluster, gpus: None, node: str) -> None:
    job = cluster.sbatch(
        "rm -f go; echo ready; until [ -e go ]; do sleep 0.1; done; docker run --rm --gpus all img sleep 600",
        options="--gres=gpu:2",
    )
    job.wait_for_output("ready")
    cluster.must(node, f"rm {FIRST}; mknod -m 666 {FIRST} c {NODES[FPGA]}; touch /home/ann/go")
    try:
        job.wait()
    finally:
        cluster.must(node, f"{MAKE}; rm /home/ann/go")
    # On v1 Slurm's fence around the job holds for its containers too: none starts. 22.05 leaves the FPGA open (above).
    if cluster.version == 1 and cluster.release != (22, 5):
        assert f'failed to write "{NUMBERS[FPGA]} rw"' in job.output, job.output
    else:
        assert f"devices: {FIRST} is the device {NUMBERS[FPGA]}, not {NUMBERS[FIRST]}" in job.output, job.output
        assert len(job.events("differs")) == 1


# An image that brings the nodes itself, as docker import and a registry's layers may.
OWN_NODES = f"""set -e; d=$(mktemp -d /tmp/nodes.XXXXXX); chmod 755 $d; cd $d; mkdir -p bin own dev
cp "$(readlink -f "$(command -v busybox)")" bin/busybox; ln -s busybox bin/sh; ln -s busybox bin/ls
{"; ".join(f"mknod -m 666 own/{at} c {number}" for at, number in enumerate(NODES.values()))}
tar -c . | docker -H unix://{DOCKERD} import -c 'ENV PATH=/bin' - nodes; rm -r $d"""
TRY = "for d in /own/*; do (: <>$d) && echo opened $d; done; ls -l /own"


def test_an_images_own_nodes_open_no_device(cluster: Cluster, gpus: None, node: str) -> None:
    cluster.must(node, OWN_NODES)
    try:
        done = cluster.srun(
            f"docker run --rm nodes sh -c '{TRY}'; docker run --rm --gpus all nodes sh -c '{TRY}'",
            options="--gres=gpu:1",
        )
        daemon = cluster.docker(node, f"run --rm --network none --device-cgroup-rule 'c 10:229 rw' nodes sh -c '{TRY}'")
    finally:
        cluster.docker(node, "rmi nodes")
    assert done.out.count("crw-rw-rw-") == 6, done
    # What it brings of the job's own GPU is the job's own GPU.
    assert said(done.out, "opened") == ["/own/0"], done
    assert done.err.count("Operation not permitted") == 5, done
    assert said(daemon.out, "opened") == ["/own/0"], daemon


def test_where_slurmd_does_not_say_which_they_are_none_is_given(cluster: Cluster, gpus: None, node: str) -> None:
    cluster.must(node, "cd /etc/slurm; cp gres.conf gres.kept; : >gres.conf")
    try:
        job = cluster.run("docker run --rm --gpus all img true; docker run --rm img echo well", options="--gres=gpu:1")
    finally:
        cluster.must(node, "cd /etc/slurm; mv gres.kept gres.conf")
    assert "slurmd -G has no GPU '0'" in job.events("gpus-unknown")[0]["why"]
    assert "--gpus all: this job was given no GPU" in job.output
    assert "well" in job.output
