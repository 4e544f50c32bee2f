# SPDX-License-Identifier: Apache-2.0
"""Images: which of them a job sees, runs and pulls, and what a pull may cost the node."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.attacks.wire import DOCKERD, in_a_job, request
from tests.cluster.registry import LOCKED, OPEN, PASSWORD, USER, Registry
from tests.cluster.slurm import CONFIG, Cluster

pytestmark = pytest.mark.anywhere

BUSYBOX = """mkdir bin; cp "$(readlink -f "$(command -v busybox)")" bin/busybox
for program in sh cat sleep ls echo; do ln -s busybox bin/$program; done"""


class Site:
    """The `[images]` table of the node's configuration."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def set(self, table: str) -> None:
        """As an operator edits it."""
        self.cluster.must(
            self.cluster.node, f"(cat /tmp/kept-images.toml; cat) > {CONFIG}", stdin=f"\n[images]\n{table}"
        )
        self.cluster.must(self.cluster.node, "slurm-hooks config >/dev/null")


@pytest.fixture
def site(cluster: Cluster, node: str) -> Iterator[Site]:
    """The configuration, put back after the test, as are the images."""
    before = names(cluster)
    cluster.must(node, f"cp -p {CONFIG} /tmp/kept-images.toml")
    yield Site(cluster)
    cluster.must(node, f"cp -p /tmp/kept-images.toml {CONFIG}; slurm-hooks config >/dev/null")
    for name in sorted(names(cluster) - before, reverse=True):
        cluster.docker(node, f"rmi {name}")


def names(cluster: Cluster) -> set[str]:
    """Of the node's images, tags and digests, and the ids of those without."""
    every = f"$(docker -H unix://{DOCKERD} images -q --no-trunc | sort -u)"
    form = "{{range .RepoTags}}{{.}} {{end}}{{range .RepoDigests}}{{.}} {{end}}{{if not .RepoTags}}{{.Id}}{{end}}"
    return set(cluster.docker(cluster.node, f"image inspect -f '{form}' {every}").out.split())


@pytest.fixture(scope="module")
def registry(cluster: Cluster) -> Iterator[Registry]:
    """With tools/one:1, tools/one:2 and other/two:1 in it."""
    started = Registry(cluster, cluster.node)
    started.start()
    image(cluster, "one", "echo one > version")
    image(cluster, "two", "echo two > version")
    for name, repository in (("one", "tools/one:1"), ("two", "tools/one:2"), ("two", "other/two:1")):
        started.push(name, repository)
    cluster.docker(cluster.node, "rmi one two")
    yield started
    started.stop()


def image(cluster: Cluster, name: str, more: str) -> None:
    """An image of the node with busybox and what some shell puts beside it."""
    cluster.must(
        cluster.node,
        f"set -e; d=$(mktemp -d); chmod 755 $d; cd $d; {BUSYBOX}; {more}; tar -c . | "
        f"docker -H unix://{DOCKERD} import -c 'ENV PATH=/bin' - {name}; rm -r $d",
    )


def test_a_job_sees_and_runs_what_the_site_allows(cluster: Cluster, site: Site) -> None:
    cluster.docker(cluster.node, "tag img other/img")
    image(cluster, "forbidden", "echo no > version")
    site.set("allow = ['img']")
    done = cluster.srun_each(
        {
            "images": "docker images --format '{{.Repository}}'",
            "inspect": "docker image inspect forbidden",
            "by name": "docker run --rm img echo ran",
            "by another name of it": "docker run --rm other/img echo ran",
            "by id": "docker run --rm $(docker images -q --no-trunc img) echo ran",
            "by short id": "docker run --rm $(docker images -q img) echo ran",
            "forbidden": "docker run --rm forbidden cat /version",
            "absent": "docker run --rm nowhere true",
        }
    )
    assert sorted(done["images"].out.split()) == ["img", "other/img"]
    assert "No such image: forbidden:latest" in done["inspect"].err
    for name in ("by name", "by another name of it", "by id", "by short id"):
        assert done[name].out == "ran\n", done[name]
    assert "image forbidden: not one that the site lets jobs run" in done["forbidden"].err
    assert "docker pull: a job runs the images that `docker images` lists" in done["absent"].err


def test_a_container_is_made_of_the_id_and_shows_the_name(cluster: Cluster, node: str) -> None:
    done = cluster.srun(
        "docker run -d --name one img sleep 60 >/dev/null; docker ps --format '{{.Image}}'; "
        "docker inspect -f '{{.Config.Image}} {{.Image}}' one; docker images -q --no-trunc img; "
        "docker ps -q --filter ancestor=img | wc -l; docker rm -f one >/dev/null"
    )
    listed, inspected, image_id, filtered = done.out.splitlines()[1:]
    assert (listed, inspected, filtered) == ("img", f"img {image_id}", "1")


def test_a_tag_that_moves_between_check_and_create_moves_nothing(cluster: Cluster, site: Site) -> None:
    node = cluster.node
    image(cluster, "good", "echo good > version")
    image(cluster, "bad", "echo bad > version")
    cluster.docker(node, "tag good moving")
    site.set("allow = ['good']")
    # A bind mount from a file server that does not answer for a while holds the create after its check.
    cluster.must(node, "python3 /src/tests/labs/hung_fs.py /mnt/slow --daemon && kill -STOP $(cat /mnt/slow.pid)")
    try:
        job = cluster.sbatch("docker run --rm -v /mnt/slow/ok:/x moving cat /version; docker run --rm moving true")
        cluster.wait(node, "pgrep -f '[f]rom slurm_hooks.broker import staging' >/dev/null", "the create's staging")
        assert cluster.docker(node, "tag bad moving").status == 0
        cluster.must(node, "kill -CONT $(cat /mnt/slow.pid)")
        job.wait()
    finally:
        cluster.sh(node, "kill -CONT $(cat /mnt/slow.pid); python3 /src/tests/labs/hung_fs.py /mnt/slow --stop")
    assert job.output.split("\n")[1] == "good", job.output
    assert "image moving: not one that the site lets jobs run" in job.output


def test_a_pull_by_tag_and_by_digest_with_its_progress(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{OPEN}']")
    digest = registry.push("img", "tools/img:1")
    job = cluster.run(
        f"docker pull {OPEN}/tools/one:1; docker run --rm {OPEN}/tools/one:1 cat /version; "
        f"docker run --rm {OPEN}/tools/one:2 cat /version 2>&1; "
        f"docker pull -q {OPEN}/tools/img@{digest}; docker run --rm {OPEN}/tools/img@{digest} echo by digest"
    )
    said = job.output
    for line in ("Pulling fs layer", "Pull complete", f"Downloaded newer image for {OPEN}/tools/one:1", "\none\n"):
        assert line in said, said
    assert f"Unable to find image '{OPEN}/tools/one:2' locally" in said and "\ntwo\n" in said, said
    assert "\nby digest\n" in said, said
    pulled = job.events("pull")
    assert [event["image"] for event in pulled] == [
        f"{OPEN}/tools/one:1", f"{OPEN}/tools/one:2", f"{OPEN}/tools/img@{digest}"
    ]  # fmt: skip
    assert all(event["unpacked"] > 100_000 and event["why"] == "" for event in pulled), pulled


def test_a_pull_from_elsewhere_is_refused(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{OPEN}']\nallow = ['img', '{OPEN}/tools/*']")
    done = cluster.srun_each(
        {
            "hub": "docker pull img",
            "another port": f"docker pull {LOCKED}/tools/one:1",
            "another repository": f"docker pull {OPEN}/other/two:1",
            "all tags": f"docker pull -a {OPEN}/tools/one",
            "another machine's": f"docker pull --platform linux/s390x {OPEN}/tools/one:1",
            "login": f"docker login -u a -p b {LOCKED}",
            "absent": f"docker pull {OPEN}/tools/none:1",
        }
    )
    words = {
        "hub": f"docker.io is not a registry for jobs here ({OPEN})",
        "another port": f"{LOCKED} is not a registry for jobs here",
        "another repository": "not an image that the site lets jobs run",
        "all tags": "--all-tags",
        "another machine's": "--platform linux/s390x: not this node's",
        "login": f"{LOCKED} is not a registry for jobs here",
        "absent": "not found",
    }
    for name, word in words.items():
        assert word in done[name].err + done[name].out, done[name]


def test_an_import_by_another_name_is_refused(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{OPEN}']")
    asked = {
        "fromSrc": f"fromSrc=http://{OPEN}/x.tar&repo=img",
        "changes": f"fromImage={OPEN}/tools/one&tag=1&changes=USER+root",
        "repo": f"fromImage={OPEN}/tools/one&tag=1&repo=img",
        "a path": f"fromImage={OPEN}/tools/../../v2&tag=1",
    }
    said = in_a_job(cluster, {name: [request("POST", f"/images/create?{query}")] for name, query in asked.items()})
    assert [said[name].status for name in asked] == [403] * 4, said


def test_credentials_of_the_users_own(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{LOCKED}']")
    done = cluster.srun_each(
        {
            "without": f"docker pull {LOCKED}/tools/one:1",
            "wrong": f"echo wrong | docker login -u {USER} --password-stdin {LOCKED}",
            "login": f"echo -n '{PASSWORD}' | docker login -u {USER} --password-stdin {LOCKED}",
            "with": f"docker pull {LOCKED}/tools/one:1",
            "logout": f"docker logout {LOCKED}; rm -rf ~/.docker",
        }
    )
    assert "no basic auth credentials" in done["without"].err
    assert "401 Unauthorized" in done["wrong"].err
    assert "Login Succeeded" in done["login"].out
    assert f"Downloaded newer image for {LOCKED}/tools/one:1" in done["with"].out, done["with"]
    secret = cluster.must(cluster.node, f"grep -rlF '{PASSWORD}' /var/log/slurm-hooks /run/slurm-hooks || true")
    assert secret == ""


def test_a_registry_describes_an_image_to_who_may_pull_it(cluster: Cluster, site: Site, registry: Registry) -> None:
    """GET /distribution, as docker-py's get_registry_data asks it; `docker manifest` asks the registry itself."""
    site.set(f"registries = ['{LOCKED}']")
    digest = registry.push("img", "tools/described:1")
    given = {"username": USER, "password": PASSWORD, "serveraddress": LOCKED}
    header = f"X-Registry-Auth: {base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}"
    image_ = "tools/described:1/json"
    said = in_a_job(
        cluster,
        {
            "with credentials": [request("GET", f"/distribution/{LOCKED}/{image_}", None, header)],
            "without": [request("GET", f"/distribution/{LOCKED}/{image_}")],
            "elsewhere": [request("GET", f"/distribution/{OPEN}/{image_}")],
            "with credentials, elsewhere": [request("GET", f"/distribution/{OPEN}/{image_}", None, header)],
        },
    )
    assert said["with credentials"].status == 200, said
    described = json.loads(said["with credentials"].text.partition("\r\n\r\n")[2])
    assert described["Descriptor"]["digest"] == digest
    assert [platform["os"] for platform in described["Platforms"]] == ["linux"]
    assert "no basic auth credentials" in said["without"].text and digest not in said["without"].text, said
    for name in ("elsewhere", "with credentials, elsewhere"):
        assert said[name].status == 403 and "is not a registry for jobs here" in said[name].text, said


def test_pulls_of_one_image_at_once_fetch_it_once(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{OPEN}']")
    image(cluster, "large", "head -c 20000000 /dev/urandom > noise; echo large > version")
    registry.push("large", "tools/large:1")
    cluster.docker(cluster.node, "rmi large")
    before = len(registry.fetched())
    jobs = [
        cluster.sbatch(f"docker run --rm {OPEN}/tools/large:1 cat /version", user=user, options="--mem=100")
        for user in ("ann", "bob", "ann", "bob")
    ]
    for job in jobs:
        job.wait()
    assert ["large\n" in job.output for job in jobs] == [True] * 4, [job.output for job in jobs]
    # The configuration, a kilobyte whose digest is the image's id, is read by each pull; the layer by one.
    made = cluster.docker(cluster.node, f"image inspect -f '{{{{.Id}}}}' {OPEN}/tools/large:1").out.strip()
    layers = [path for path in registry.fetched()[before:] if not path.endswith(made)]
    assert len(layers) == 1, layers


def test_a_pull_that_waits_for_its_turn_says_so(cluster: Cluster, site: Site, registry: Registry) -> None:
    site.set(f"registries = ['{OPEN}']\npulls_of_job = 1")
    pid = "$(cat /var/lib/lab-registry/5000.pid)"
    pull = f"docker pull {OPEN}/tools"
    cluster.must(cluster.node, f"kill -STOP {pid}")  # the first pull goes on for as long as we like
    try:
        job = cluster.sbatch(
            f"{pull}/one:1 > first 2>&1 & until docker ps >/dev/null; do :; done; sleep 1;"
            f"timeout 2 {pull}/one:2; echo gave up $?; {pull}/none:1 2>&1 & {pull}/one:2; wait; cat first; rm first"
        )
        job.wait_for_output("gave up 124")
        cluster.wait(
            cluster.node, f"[ $(grep -c 'Waiting for {OPEN}' {job.output_file}) = 3 ]", "the words of those that wait"
        )
    finally:
        cluster.must(cluster.node, f"kill -CONT {pid}")
    job.wait()
    for name in ("one:1", "one:2"):
        assert f"Downloaded newer image for {OPEN}/tools/{name}" in job.output, job.output
    assert "not found" in job.output  # dockerd's own words of an error, though the answer had begun
    assert [event["image"] for event in job.events("pull")] == [f"{OPEN}/tools/one:1", f"{OPEN}/tools/one:2"]


def test_an_image_beyond_the_sites_bound_is_not_kept(cluster: Cluster, site: Site, registry: Registry) -> None:
    image(cluster, "noise", "head -c 30000000 /dev/urandom > noise")
    image(cluster, "zeros", "head -c 30000000 /dev/zero > zeros")
    for name in ("noise", "zeros"):
        registry.push(name, f"tools/{name}:1")
        cluster.docker(cluster.node, f"rmi {name}")
    site.set(f"registries = ['{OPEN}']\nlargest_gigabytes = 0.01")
    job = cluster.run(
        f"docker pull {OPEN}/tools/noise:1; docker pull {OPEN}/tools/zeros:1; docker pull {OPEN}/tools/one:1"
    )
    for name in ("noise", "zeros"):
        assert f"docker pull {OPEN}/tools/{name}:1: larger than 0.01 GB, which is the most here" in job.output
        assert cluster.docker(cluster.node, f"image inspect {OPEN}/tools/{name}:1").status != 0
    assert "Downloaded newer image" in job.output


def test_an_image_that_unpacks_to_no_end_is_broken_off(cluster: Cluster, site: Site, registry: Registry) -> None:
    # A megabyte to fetch, so its unpacking alone tells; the event says 0 unpacked where it was not let to its end.
    image(cluster, "bomb", "head -c 1500000000 /dev/zero > zeros")
    registry.push("bomb", "tools/bomb:1")
    cluster.docker(cluster.node, "rmi bomb")
    site.set(f"registries = ['{OPEN}']\nlargest_gigabytes = 0.05\npulls_of_node = 1")
    job = cluster.run(f"docker pull {OPEN}/tools/bomb:1; docker pull {OPEN}/tools/one:1")
    assert f"docker pull {OPEN}/tools/bomb:1: larger than 0.05 GB, which is the most here" in job.output
    pull = job.events("pull")[0]
    assert pull["bytes"] < 10_000_000 and pull["unpacked"] == 0, pull
    assert cluster.docker(cluster.node, f"image inspect {OPEN}/tools/bomb:1").status != 0
    assert "Downloaded newer image" in job.output


def test_the_cache_has_a_bound_and_what_runs_stays(cluster: Cluster, site: Site, registry: Registry) -> None:
    node = cluster.node
    for name in ("old", "runs", "new", "kept"):
        image(cluster, name, "head -c 20000000 /dev/urandom > noise")
    for name in ("old", "runs", "new"):
        registry.push(name, f"tools/{name}:1")
        cluster.docker(node, f"rmi {name}")
    site.set(f"registries = ['{OPEN}']\nkeep = ['img', 'kept']\ncache_gigabytes = 0.07")
    job = cluster.sbatch(
        f"docker run --rm {OPEN}/tools/old:1 echo old; docker run -d {OPEN}/tools/runs:1 sleep 600; "
        f"docker pull -q {OPEN}/tools/new:1; echo pulled; sleep 600"
    )
    try:
        job.wait_for_output("pulled")
        cluster.wait(node, f"! docker -H unix://{DOCKERD} image inspect {OPEN}/tools/old:1 >/dev/null 2>&1", "eviction")
        cluster.wait(node, 'grep -q \'"event": *"evict"\' /var/log/slurm-hooks/events.jsonl', "its event")
        there = names(cluster)
        assert {f"{OPEN}/tools/runs:1", f"{OPEN}/tools/new:1", "kept:latest", "img:latest"} <= there
        # However small the bound becomes: what is kept, and what containers are made of.
        site.set("keep = ['img', 'kept']\ncache_gigabytes = 0.001")
        cluster.service(node, "restart", "broker")
        cluster.wait(node, f"! docker -H unix://{DOCKERD} image inspect {OPEN}/tools/new:1 >/dev/null 2>&1", "eviction")
        assert {f"{OPEN}/tools/runs:1", "kept:latest", "img:latest"} <= names(cluster)
        assert cluster.docker(node, "ps -q").out.count("\n") == 1
    finally:
        job.cancel()
        job.wait()
