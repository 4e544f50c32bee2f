# SPDX-License-Identifier: Apache-2.0
"""What bounds a job bounds its containers, by trying: processors, swap, the disk, huge pages. On cgroup v2.

Slurm sets the first; the others a site sets on the job's cgroup, in a Prolog say. Lab (c)'s kernel has them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.calls import BRING, PYTHON
from tests.cluster.slurm import Cluster, Job

W = "/home/ann/held"
# Runs what is written to a pipe, and puts its words into a file.
SERVE = "while :; do sh <ask >said 2>&1; mv said answer; done"
HELD = f"""{BRING}; cp $from/lib-dynload/mmap.*.so $to; mkdir -p {W}; rm -f {W}/*; mkfifo {W}/ask
docker run -d -v {W}:/w -v $PWD/py:/py:ro -e PYTHONHOME=/py -w /w img sh -c '{SERVE}'
echo begun; grep Cpus_allowed_list /proc/self/status; sleep 6000"""


@pytest.fixture(scope="module")
def held(cluster: Cluster) -> Iterator[Job]:
    """A job of one processor with a container that can be asked; io and hugetlb reach down to it."""
    node = cluster.node
    missing = {"cpuset", "io", "hugetlb"} - set(cluster.sh(node, "cat /sys/fs/cgroup/cgroup.controllers").out.split())
    if missing:
        pytest.skip(f"the kernel of this lab has no {' and no '.join(sorted(missing))} on cgroup v2")
    cluster.cancel_all()
    cluster.wait_idle(node)
    job = cluster.sbatch(HELD, options="-c1 --mem=300")
    job.wait_for_output("begun")
    # As Slurm 25.05 does with EnableExtraControllers. No level above the job holds processes.
    path = "/sys/fs/cgroup"
    for part in job.cgroup.split("/")[1:]:
        cluster.must(node, f"echo '+io +hugetlb' >{path}/cgroup.subtree_control")
        path += f"/{part}"
    yield job
    job.cancel()
    assert job.wait()["verdict"] == "clean"
    cluster.must(node, f"rm -r {W} /home/ann/py")
    assert cluster.left_on(node) == []


def inside(job: Job, script: str) -> str:
    """What a script prints that runs in the job's container."""
    job.cluster.must(job.node, f"cat >{W}/ask", stdin=script)
    job.cluster.wait(job.node, f"[ -e {W}/answer ]", "the container's answer")
    return job.cluster.must(job.node, f"cat {W}/answer; rm {W}/answer")


def bound(job: Job, file: str, value: str) -> None:
    """Root writes a file of the job's cgroup."""
    job.cluster.must(job.node, f"echo '{value}' >/sys/fs/cgroup{job.cgroup}/{file}")


def test_no_processor_but_the_jobs_can_be_had(cluster: Cluster, held: Job) -> None:
    (own,) = (line.split()[1] for line in held.output.splitlines() if line.startswith("Cpus_allowed_list"))
    every = range(int(cluster.must(held.node, "nproc --all")))
    assert len(every) > 1
    said = inside(held, "\n".join(f"taskset -c {one} true 2>/dev/null && echo {one}" for one in every))
    assert said.split() == [own]


def test_a_bound_on_the_jobs_disk_holds_a_containers_writes(cluster: Cluster, held: Job) -> None:
    disk = cluster.must(held.node, f"findmnt -no MAJ:MIN --target {W}").strip()
    # 1 MiB past the page cache, and how long it took.
    write = "cut -d. -f1 /proc/uptime; dd if=/dev/zero of=big bs=64k count=16 oflag=direct; cut -d. -f1 /proc/uptime"

    def seconds() -> int:
        before, *_, after = inside(held, write).split()
        return int(after) - int(before)

    assert seconds() <= 4, "unbound it is quick"
    bound(held, "io.max", f"{disk} wbps={128 << 10}")
    assert seconds() >= 6, "a MiB at 128 KiB a second"
    bound(held, "io.max", f"{disk} wbps=max")
    assert seconds() <= 4


# As many pages of 2 MiB as are asked for, touched.
TOUCH = f"""{PYTHON} -c "
import mmap
here = mmap.mmap(-1, PAGES << 21, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
for at in range(PAGES): here[at << 21] = 1
print('all touched')
"; echo exit $?"""


def test_a_bound_on_the_jobs_huge_pages_holds_in_a_container(cluster: Cluster, held: Job) -> None:
    knob = "/proc/sys/vm/nr_hugepages"
    cluster.must(held.node, f"echo 8 >{knob}; [ $(cat {knob}) = 8 ]")
    try:
        asked = {pages: TOUCH.replace("PAGES", str(pages)) for pages in (2, 3)}
        assert "all touched" in inside(held, asked[3])
        bound(held, "hugetlb.2MB.max", str(2 << 21))
        assert "all touched" in inside(held, asked[2])
        assert inside(held, asked[3]).splitlines()[-1] == "exit 135"  # SIGBUS
        bound(held, "hugetlb.2MB.max", "max")
        assert "all touched" in inside(held, asked[3])
    finally:
        cluster.must(held.node, f"echo 0 >{knob}")


SWAP = "cd /var/tmp; fallocate -l 256M lab-swap && chmod 600 lab-swap && mkswap lab-swap >/dev/null && swapon lab-swap"
# More than it may have in memory, kept for a moment.
MORE = "systemd-run --quiet --scope -p MemoryMax=32M sh -c 'head -c 64M /dev/zero | tail -c 64M >/dev/null'"


def test_a_container_is_ended_at_the_jobs_memory_and_does_not_swap(cluster: Cluster, held: Job) -> None:
    cluster.must(held.node, SWAP)
    try:
        cluster.must(held.node, MORE)  # another process can
        said = inside(held, "tail /dev/zero; echo exit $?; cat /sys/fs/cgroup/memory.swap.peak")  # an endless line
        assert said.splitlines()[-2:] == ["exit 137", "0"]
    finally:
        cluster.must(held.node, "swapoff /var/tmp/lab-swap; rm /var/tmp/lab-swap")
