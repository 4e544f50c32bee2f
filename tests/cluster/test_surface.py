# SPDX-License-Identifier: Apache-2.0
"""The rest of the docker command line: of the job's own containers, by the job's own names, and of no other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.slurm import Cluster, Job
from tests.labs.base import Done

pytestmark = [pytest.mark.anywhere, pytest.mark.timeout(400)]  # fifty commands in one job, on a busy machine
RUN = "docker run -d --name"
PS = "docker ps -a --format '<{{.Names}}>'"
WAIT = "for try in $(seq 100); do"
UNTIL = "docker events --since 0 --until $(($(date +%s) + 1))"  # what has happened until now; then it ends
COMMANDS = {
    "stats": (f"{RUN} aa img sleep 60; docker stats --no-stream --format '{{{{.Name}}}} {{{{.PIDs}}}}'", "\naa 1\n"),
    "stats of one": (f"{RUN} aa img sleep 60; docker stats --no-stream --format '<{{{{.Name}}}}>' aa", "<aa>"),
    "stats, a stream": (
        f"{RUN} aa img sleep 60; docker stats --format '<{{{{.Name}}}}>' aa > s & "
        f"{WAIT} grep -q '<aa>' s && break; sleep .1; done;"
        "kill $!; wait $!; grep -o '<aa>' s | head -1; rm s",
        "<aa>",
    ),
    "top": (f"{RUN} aa img sleep 4321; docker top aa", "sleep 4321"),
    "top with columns": (f"{RUN} aa img sleep 4321; docker top aa -eo pid,args", "sleep 4321"),
    "rename": (
        f"{RUN} aa img sleep 60; docker rename aa bb; docker ps --format '<{{{{.Names}}}}>'; docker exec bb echo in bb;"
        "docker inspect -f '{{.Name}}' bb",
        "<bb>\nin bb\n/bb",
    ),
    "rename, the old name is free": (
        f"{RUN} aa img true; docker rename aa bb; docker run --name aa img echo again",
        "again",
    ),
    "pause": (
        f"{RUN} aa img sleep 60; docker pause aa; docker ps --format '{{{{.Status}}}}'; docker unpause aa;"
        "docker ps --format '{{.State}}'",
        "(Paused)\naa\nrunning",
    ),
    "pause, then kill": (f"{RUN} aa img sleep 60; docker pause aa; docker kill aa; docker wait aa", "\naa\naa\n137"),
    "restart": (
        f"{RUN} aa img sh -c 'echo begun; sleep 60'; docker restart -t 0 aa; docker logs aa;"
        "docker inspect -f '{{.State.Status}}' aa",
        "begun\nbegun\nrunning",
    ),
    "restart of one that has ended": (
        f"{RUN} aa img echo once more; docker wait aa; docker restart aa; docker wait aa; docker logs aa",
        "once more\nonce more",
    ),
    "diff": (f"{RUN} aa img sleep 60; docker diff aa; echo exit $?", "exit 0"),
    "container prune": (
        f"{RUN} aa img sleep 60; docker create --name bb img; docker container prune -f >&2; {PS}",
        "<aa>\n",
    ),
    "container prune by label": (
        "docker create --label x=1 --name aa img; docker create --name bb img;"
        f"docker container prune -f --filter label=x >&2; {PS}",
        "<bb>\n",
    ),
    "events": (
        f"{RUN} aa img true; docker wait aa; docker rename aa bb; docker rm bb; sleep 1; {UNTIL} --format "
        "'{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'",
        "container create aa\ncontainer start aa\ncontainer die aa\ncontainer rename bb\ncontainer destroy bb",
    ),
    "events of one": (
        # moby compares with the beginning of ids, too: a name that no id begins with.
        f"{RUN} aa img true; {RUN} xx img true; docker wait aa xx; sleep 1;"
        f"{UNTIL} --filter container=xx --filter event=die --format '{{{{.Action}}}} {{{{.Actor.Attributes.name}}}}'",
        "0\n0\ndie xx\n",
    ),
    "events, as they come": (
        "docker events --filter event=die --format 'saw {{.Action}} {{.Actor.Attributes.name}}' > e & sleep 1;"
        f"{RUN} aa img true; {WAIT} grep -q saw e && break; sleep .1; done; kill $!; cat e; rm e",
        "saw die aa",
    ),
    "events of networks": (f"{RUN} aa img true; sleep 1; {UNTIL} --filter type=network; echo none", "\nnone\n"),
    "ps, by its beginning": (f"{RUN} a1 img true; {RUN} a2 img true; docker ps -aq --filter name=a | wc -l", "\n2\n"),
    "ps, anchored": (f"{RUN} a1 img true; {RUN} xa1 img true; docker ps -aq --filter name=^a | wc -l", "\n1\n"),
    "ps, not by our prefix": (f"{RUN} a1 img true; docker ps -aq --filter name=slurm | wc -l", "\n0\n"),
    "ps, since": (
        f"{RUN} a1 img true; {RUN} a2 img true; {PS} --filter since=a1",
        "\n<a2>\n",
    ),
    "ps, before": (
        f"{RUN} a1 img true; {RUN} a2 img true; {PS} --filter before=a2",
        "\n<a1>\n",
    ),
    "ps, exited": (
        f"{RUN} a1 img sh -c 'exit 3'; docker wait a1; {PS} --filter exited=3 --filter status=exited",
        "<a1>",
    ),
    "ps, ancestor": (f"{RUN} a1 img true; {PS} --filter ancestor=img", "<a1>"),
    "ps, label": (
        f"{RUN} a1 --label q=1 img true; {RUN} a2 img true; {PS} --filter label=q=1",
        "\n<a1>\n",
    ),
    "ps, network": (f"{RUN} a1 img true; {PS} --filter network=none", "<a1>"),
    "ps, health and volume": (
        f"{RUN} a1 -v $HOME:/w img true; {PS} --filter health=none --filter volume=/w",
        "<a1>",
    ),
    "ps, the last one": (f"{RUN} a1 img true; {RUN} a2 img true; {PS} -l", "\n<a2>\n"),
    "ps, id": (f"a=$({RUN} a1 img true); {PS} --filter id=$a", "<a1>"),
    "network ls": ("docker network ls --format '{{.Name}} {{.Driver}}'", "none null\n"),
    "network inspect": ("docker network inspect -f '{{.Driver}}' none", "null\n"),
    "volume ls": ("docker volume ls -q; echo none", "none\n"),
    "inspect of an image": ("docker inspect -f '{{index .RepoTags 0}}' img:latest", "img:latest\n"),
    "inspect of an image that is not there": ("docker inspect reg/no:tag 2>&1", "No such object: reg/no:tag"),
    "inspect of what is not there": ("docker inspect nothing 2>&1", "No such object: nothing"),
}
REFUSED = {
    "ps, by another's": (f"{PS} --filter since=theirs", "No such container: theirs"),
    "ps, by an unknown filter": (f"{PS} --filter nope=1", "invalid filter 'nope'"),
    "restart of --rm": (f"{RUN} aa --rm img sleep 60; docker restart -t 0 aa", "a container of --rm is gone"),
    "rename to a name that is taken": (
        f"{RUN} aa img true; {RUN} bb img true; docker rename aa bb",
        '"/bb" is already in use',
    ),
    "rename to its own name": (f"{RUN} aa img true; docker rename aa aa", "same name"),
    "rename of nothing": ("docker rename aa bb", "No such container: aa"),
    "pause of one that has ended": (f"{RUN} aa img true; docker wait aa; docker pause aa", "is not running"),
    "top with the node's columns": (
        f"{RUN} aa img sleep 60; docker top aa -eo args,pid",
        "not a value that it may have",
    ),
    "cp out": (f"{RUN} aa img sleep 60; docker cp aa:/etc/passwd .", "docker exec CONTAINER cat FILE"),
    "cp in": (f"{RUN} aa img sleep 60; docker cp /etc/hostname aa:/tmp", "Use a bind mount"),
    "system df": ("docker system df", "what lies on the node is the site's"),
    "container prune by time": ("docker container prune -f --filter until=1h", "only label is offered"),
    "an API that is too old": (
        "DOCKER_API_VERSION=1.11 docker ps",
        "client version 1.11 is too old. Minimum supported API",
    ),
    "an API that is too new": (
        "DOCKER_API_VERSION=1.99 docker ps",
        "client version 1.99 is too new. Maximum supported API",
    ),
}
CLEAN = "docker rm -f $(docker ps -aq) >/dev/null 2>&1"


@pytest.fixture(scope="module")
def said(cluster: Cluster) -> dict[str, Done]:
    """Every command above, in one job, each without the containers of the one before."""
    scripts = {name: f"{CLEAN}; {script}" for name, (script, _) in (COMMANDS | REFUSED).items()}
    return cluster.srun_each(scripts)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_works_as_everywhere(said: dict[str, Done], name: str) -> None:
    assert COMMANDS[name][1] in f"\n{said[name].out}", said[name]


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_words(said: dict[str, Done], name: str) -> None:
    assert REFUSED[name][1] in said[name].err, said[name]
    assert said[name].status != 0


@pytest.mark.parametrize("name", COMMANDS | REFUSED)
def test_nothing_shows_our_prefix_or_stages(said: dict[str, Done], name: str) -> None:
    assert "slurm-" not in said[name].out + said[name].err or "slurm-hooks.j" in said[name].out, said[name]


@pytest.fixture
def theirs(cluster: Cluster, node: str) -> Iterator[Job]:
    """Another job of the same user with a running container called `theirs`."""
    job = cluster.sbatch("docker run -d --name theirs img sleep 600; echo started; sleep 600", options="--mem=200")
    job.wait_for_output("started")
    yield job
    job.cancel()
    job.wait()


def test_what_is_not_yours_is_not_there_by_any_way(cluster: Cluster, theirs: Job) -> None:
    container = cluster.docker(theirs.node, "ps -q --no-trunc --filter label=slurm-hooks.job").out.strip()
    names = ["theirs", container, container[:12], f"slurm-{theirs.id}-0.theirs", "nowhere"]
    ways = (
        "docker stats --no-stream N", "docker top N", "docker rename N mine", "docker pause N", "docker unpause N",
        "docker restart N", "docker diff N", "docker wait N", "docker port N", "docker attach N",
        f"{PS} --filter since=N", f"{PS} --filter before=N",
    )  # fmt: skip
    scripts = {
        f"{way} {name}": way.replace(" N", f" {name}").replace("=N", f"={name}") for way in ways for name in names
    }
    done = cluster.srun_each({"mine": f"{RUN} here img sleep 600", **scripts})
    for way in ways:
        words = {done[f"{way} {name}"].err.strip().replace(name, "N") for name in names}
        assert len(words) == 1 and "No such container: N" in words.pop(), way
    assert not any(done[name].out.replace("CONTAINER ID", "").strip().startswith(container[:12]) for name in scripts)
    assert cluster.docker(theirs.node, f"inspect -f '{{{{.State.Status}}}}' {container}").out.strip() == "running"


def test_lists_and_events_and_prune_stay_in_the_job(cluster: Cluster, theirs: Job) -> None:
    cluster.docker(theirs.node, "stop -t 0 $(docker -H unix:///run/slurm-hooks-docker/docker.sock ps -q)")
    script = f"""docker ps -a --filter name=theirs -q; docker ps -a --filter status=exited -q; docker ps -lq
    {UNTIL} --format json; docker ps -aq --filter label=slurm-hooks.job; docker container prune -f"""
    done = cluster.srun(script, options="--mem=100")
    assert done.out.split("\n", 1)[1].split() == ["Total", "reclaimed", "space:", "0B"], done
    assert cluster.docker(theirs.node, "ps -aq --filter label=slurm-hooks.job").out.strip()


def test_a_restart_is_read_back_as_a_start(cluster: Cluster, node: str) -> None:
    job = cluster.run("docker run -d --name aa -v $HOME:/w img sleep 60; docker restart -t 0 aa; docker exec aa ls /w")
    assert [event["read_back"] for event in job.events("start")] == ["as asked", "as asked"]


VERBS = "docker restart -t 0 aa; docker unpause aa; docker pause aa; docker rename aa bb; docker exec aa true"


def test_nothing_begins_or_changes_in_a_job_that_is_ending(cluster: Cluster, node: str) -> None:
    script = f"docker run -d --name aa img sleep 600; echo started; until [ -e go ]; do sleep 0.1; done; {VERBS}; rm go"
    job = cluster.sbatch(f"{script}; echo over; sleep 60")
    job.wait_for_output("started")
    cluster.must(node, f'sed -i \'s/"state": "open"/"state": "closing"/\' /run/slurm-hooks/jobs/{job.id}-*/job')
    cluster.must(node, "touch go", user="ann")
    job.wait_for_output("over")
    assert job.output.count("this job is ending") == len(VERBS.split("; ")), job.output
    job.cancel()
    job.wait()


def test_a_rename_survives_the_broker_between_dockerd_and_the_note(cluster: Cluster, node: str) -> None:
    job = cluster.sbatch("docker run -d --name aa img sleep 600; echo started; sleep 600")
    job.wait_for_output("started")
    cluster.docker(node, f"rename slurm-{job.id}-0.aa slurm-{job.id}-0.bb")  # as if it had died right here
    cluster.service(node, "restart", "broker")
    note = f"/run/slurm-hooks/jobs/{job.id}-*/containers/*"
    cluster.wait(node, f'grep -q \'"name": "bb"\' {note}', "the new name in the note")
    assert json.loads(cluster.must(node, f"cat {note}"))["image"] == "img"
    job.cancel()
    job.wait()


def test_an_exec_is_read_back_from_the_kernel(cluster: Cluster, node: str) -> None:
    job = cluster.run(
        "docker run -d --name aa img sleep 60; docker exec aa sleep 1; docker exec -d aa sleep 30; docker exec aa nope"
    )
    assert [event["read_back"] for event in job.events("exec-start")] == ["as asked", "as asked", "ended before it"]
