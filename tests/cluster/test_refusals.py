# SPDX-License-Identifier: Apache-2.0
"""What is refused is refused with one line: the flag, the rule, what to do instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from slurm_hooks import commandline
from tests.cluster.slurm import CONFIG, Cluster
from tests.labs.base import Done

pytestmark = pytest.mark.anywhere

REFUSED = {
    "--privileged": "docker run --rm --privileged img id",
    "-v /etc": "docker run --rm -v /etc:/x img id",
    "-v /": "docker run --rm -v /:/x img id",
    "--pid=host": "docker run --rm --pid=host img id",
    "--network host": "docker run --rm --network host img id",
    "--cgroup-parent=/": "docker run --rm --cgroup-parent=/ img id",
    "--user 0": "docker run --rm --user 0 img id",
    "--cap-add SYS_ADMIN": "docker run --rm --cap-add SYS_ADMIN img id",
    "--security-opt seccomp": "docker run --rm --security-opt seccomp=unconfined img id",
    "--device": "docker run --rm --device /dev/null:/dev/x img id",
    "--restart always": "docker run -d --restart always img id",
    "docker build": "printf 'FROM img' | DOCKER_BUILDKIT=0 docker build -t x -",
    "docker pull": "docker pull debian",
    "docker cp": "docker create --name cp img; docker cp cp:/bin/sh .; docker rm cp",
    "docker network": "docker network create x",
    "docker volume": "docker volume create x",
    "docker exec --privileged": "docker run -d --name e0 img sleep 9; docker exec --privileged e0 id; docker rm -f e0",
    "docker exec --user 0": "docker run -d --name e0 img sleep 9; docker exec --user 0 e0 id; docker rm -f e0",
}


@pytest.fixture(scope="module")
def refusals(cluster: Cluster) -> dict[str, Done]:
    """Every command above, run in one job."""
    return cluster.srun_each(REFUSED)


@pytest.mark.parametrize("flag", REFUSED)
def test_it_names_the_flag_and_does_nothing(refusals: dict[str, Done], flag: str) -> None:
    done = refusals[flag]
    lines = [line for line in done.err.splitlines() if flag in line]
    assert len(lines) == 1, done
    said = lines[0].partition(flag)[2]
    assert ": " in said and ". " in said, f"no rule or no way round in: {said}"
    assert "uid=" not in done.out


def test_docker_run_exits_as_docker_does(cluster: Cluster, node: str) -> None:
    assert "exit 125" in cluster.srun("docker run --rm --privileged img id; echo exit $?").out


def test_a_refusal_is_in_the_jobs_report(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run --rm --privileged img id")
    assert job.events("refused")[0]["why"].startswith("--privileged: ")


def test_without_a_job_there_is_no_docker(cluster: Cluster, node: str) -> None:
    done = cluster.sh(node, "docker -H unix:///run/slurm-hooks/docker.sock ps", user="ann")
    assert "this process is in no job that slurm-hooks knows" in done.err
    assert done.status != 0


def test_the_jobs_dockerd_itself_is_out_of_reach(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker -H unix:///run/slurm-hooks-docker/docker.sock ps")
    assert "permission denied" in done.err.lower()


def test_a_path_that_the_user_cannot_open_is_refused(cluster: Cluster, node: str) -> None:
    done = cluster.srun("docker run --rm -v /home/bob/f:/x img true")
    assert "-v /home/bob/f: Permission denied. Only what you can reach yourself can be mounted." in done.err


# -- told beforehand -------------------------------------------------------------------------------

# Not --device: which ones a job will have is not known before Slurm has given it some.
TOLD = [
    command
    for flag, command in REFUSED.items()
    if command.startswith("docker run ") and ";" not in command and flag != "--device"
]


@pytest.mark.parametrize("verb", ["run", "create", "exec"])
def test_each_flag_of_the_real_client_is_known_to_explain(cluster: Cluster, verb: str) -> None:
    text = cluster.must(cluster.node, f"docker {verb} --help")
    flags = set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", text, re.M)) - {"help"}
    assert len(flags) > 5
    assert flags - set(commandline.EXEC if verb == "exec" else commandline.RUN) == set()


def test_explain_says_beforehand_what_the_broker_says(cluster: Cluster, refusals: dict[str, Done]) -> None:
    said = {flag: done.err for flag, done in refusals.items() if REFUSED[flag] in TOLD}
    for flag, real in said.items():
        told = cluster.sh(cluster.node, f"slurm-hooks explain '{REFUSED[flag]}'", user="ann")
        # The refusal comes first; a row that forces its own value has a line behind it.
        line = next(line.strip() for line in told.out.splitlines() if line.strip().startswith(flag))
        assert told.status == 1
        assert line.rpartition(" (")[0].partition(", unless it is a link")[0] in real, (line, real)


def test_explain_needs_neither_job_nor_dockerd(cluster: Cluster, node: str) -> None:
    cluster.service(node, "stop", "dockerd")
    try:
        told = cluster.sh(node, "slurm-hooks explain docker run --rm -v /home/ann:/w -w /w img id", user="ann")
    finally:
        cluster.service(node, "start", "dockerd")
    assert told.status == 0, told
    assert "-v /home/ann:/w: opened as you at the launch" in told.out


# -- what the site chooses -------------------------------------------------------------------------

SITE = """
[site]
help = "Questions: help@site.example."
[container]
pids = 100
pids_max = 200
[container.environment]
FROM_SITE = "everywhere"
[mounts]
allow = ["/home"]
[partition.small]
pids = 256
[partition.small.container]
pids = 50
number = 1
[partition.small.container.environment]
FROM_SITE = "small"
"""


@pytest.fixture(scope="module")
def own_site(cluster: Cluster) -> Iterator[dict[str, Done]]:
    """What a job sees in a site that chooses; the node's configuration is put back."""
    cluster.must(cluster.node, f"cp -p {CONFIG} /tmp/kept.toml; cat > {CONFIG}; slurm-hooks config", stdin=SITE)
    try:
        limit = 'docker run --rm {} img sh -c "echo $FROM_SITE"'.replace("$", "\\$")
        yield {
            **cluster.srun_each(
                {
                    "default": limit.format(""),
                    "below": limit.format("--pids-limit 200 -e FROM_SITE=user"),
                    "above": limit.format("--pids-limit 201"),
                    "home": "docker run --rm -v /home/ann:/x img true",
                    "tmp": "mkdir -p /tmp/ann; docker run --rm -v /tmp/ann:/x img true",
                }
            ),
            "greeting": cluster.srun("true"),
            "at once": cluster.srun(
                "for i in 1 2 3 4 5 6; do docker create img & done; wait; docker ps -aq | wc -l", options="-p small"
            ),
            "small": cluster.srun(
                f"{limit.format('')}; {limit.format('--pids-limit 51')}; "
                "for i in 1 2 3 4; do docker run --rm -v /home/ann:/x img echo one after another; done; "
                "docker run -d img sleep 30; docker run img true",
                options="-p small",
            ),
        }
    finally:
        cluster.must(cluster.node, f"cp -p /tmp/kept.toml {CONFIG}; slurm-hooks config >/dev/null")


def test_the_sites_variables_are_in_a_container_and_the_users_own_win(own_site: dict[str, Done]) -> None:
    assert (own_site["default"].out, own_site["below"].out) == ("everywhere\n", "user\n")


def test_the_sites_maximum_holds(own_site: dict[str, Done]) -> None:
    assert "at most 4096 processes in all, 200 in a container" in own_site["greeting"].out
    assert "--pids-limit 201: a container may have 200 processes here. Ask for 1 to 200." in own_site["above"].err


def test_a_container_gets_the_sites_default(own_site: dict[str, Done], cluster: Cluster) -> None:
    events = cluster.must(cluster.node, "tail -n 200 /var/log/slurm-hooks/events.jsonl").splitlines()
    given = [event["pids"] for event in map(json.loads, events) if event["event"] == "create"]
    assert {50, 100, 200} <= set(given)  # partition small, the site's default, what was asked


def test_only_the_sites_own_places_are_mounted(own_site: dict[str, Done]) -> None:
    assert own_site["home"].status == 0, own_site["home"]
    assert "-v /tmp/ann: this site lets jobs mount /home alone." in own_site["tmp"].err


def test_the_sites_own_sentence_ends_a_refusal_and_docker_exits_as_ever(own_site: dict[str, Done]) -> None:
    assert "Questions: help@site.example." in own_site["above"].err.splitlines()[0]
    assert own_site["above"].status == 125


def test_a_partitions_words_hold_for_its_jobs(own_site: dict[str, Done]) -> None:
    done = own_site["small"]
    assert "at most 256 processes in all, 50 in a container" in done.out
    assert "small" in done.out.splitlines()
    assert "--pids-limit 51: a container may have 50 processes here" in done.err
    assert done.err.count("this job has 1 containers already") == 1  # the last one's: the others were removed before
    assert done.out.count("one after another") == 4


def test_the_number_of_containers_holds_for_requests_at_once(own_site: dict[str, Done]) -> None:
    done = own_site["at once"]
    assert done.out.splitlines()[-1] == "1", done
    assert done.err.count("this job has 1 containers already") == 5
