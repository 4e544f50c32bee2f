# SPDX-License-Identifier: Apache-2.0
"""The programs people use: docker commands of three Debian suites, docker-py, compose, cwltool, engines' own words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.slurm import Cluster
from tests.labs.base import Done

pytestmark = [pytest.mark.anywhere, pytest.mark.timeout(400)]
# Of the labs' tree (tests/labs/tree/clients.sh); 26.1 is the node's own.
CLIS = {"20.10": "/opt/docker-clients/bookworm/docker", "26.1": "docker", "28.5": "/opt/docker-clients/sid/docker"}
SCRIPT = r"""
docker version --format 'client {{.Client.Version}} server {{.Server.Platform.Name}}'
docker info --format '{{.OSType}} {{.CgroupDriver}}'
docker images --format '{{.Repository}}' | grep -x img
docker run --rm img echo run
echo stdin | docker run --rm -i -v $HOME:/w -w /tmp -e A=b --tmpfs /x -m 64m --cpus 1 img sh -c 'cat; echo $PWD $A'
docker run --rm img sh -c 'exit 42'; echo exit $?
docker run -d --name cli img sh -c 'echo logged; sleep 600' >/dev/null
docker ps --filter name=^cli$ --format '{{.Names}} {{.State}}'
docker exec cli id -u; echo in | docker exec -i cli cat
docker logs cli; docker top cli -o pid,args >/dev/null && echo topped
docker stats --no-stream --format '{{.Name}}' cli
docker inspect -f '{{.Name}}' cli
docker pause cli; docker unpause cli; docker rename cli cly; docker restart -t 0 cly; docker stop -t 0 cly
docker wait cly; docker start cly; docker kill cly; docker rm cly
docker create --name pruned img >/dev/null; docker container prune -f | tail -1
now=$(($(date +%s) + 1))
docker events --since 0 --until $now --filter container=cly --format '{{.Action}} {{.Actor.Attributes.name}}' |
  grep -x 'rename cly'
script -qec 'docker run --rm -it img tty' /dev/null
docker run --rm --privileged img true 2>&1 | grep -o 'no privilege over the node'; echo end
"""
SAID = [
    "linux cgroupfs", "img", "run", "stdin", "/tmp b", "exit 42", "cli running", "1001", "in", "logged", "topped",
    "cli", "/cli", "cli", "cli", "cly", "cly", "137", "cly", "cly", "cly", "Total reclaimed space: 0B", "rename cly",
    "/dev/pts/0", "no privilege over the node", "end",
]  # fmt: skip


@pytest.mark.parametrize("version", CLIS)
def test_the_docker_commands_of_three_suites_work_alike(cluster: Cluster, node: str, version: str) -> None:
    if cluster.sh(node, f"command -v {CLIS[version]}").status != 0:
        pytest.skip(f"the tree has no docker {version}: its suite could not be reached when it was built")
    here = f"mkdir -p bin; ln -sf $(command -v {CLIS[version]}) bin/docker; export PATH=$PWD/bin:$PATH"
    done = cluster.srun(f"{here}\n{SCRIPT}\nrm -r bin", timeout=120)
    lines = done.out.replace("\r", "").replace("^@", "").split("\n")  # script(1) echoes the end of its own stdin
    at = next(number for number, line in enumerate(lines) if line.startswith("client "))
    assert lines[at].startswith(f"client {version}") and "server slurm-hooks" in lines[at], done
    assert lines[at + 1 : -1] == SAID, done


VERSIONS = r"""
set -- $(docker version --format '{{.Server.MinAPIVersion}} {{.Server.APIVersion}}'); echo "serves $1 $2"
for minor in $((${1#1.} - 1)) $(seq ${1#1.} 4 $((${2#1.} - 1))) ${2#1.} $((${2#1.} + 1)); do
    export DOCKER_API_VERSION=1.$minor
    { docker run --rm -v $HOME:/w --tmpfs /x --pids-limit 50 -e A=b img sh -c 'echo $A; exit 3'; echo $?
      docker run -d --name vv img sleep 60 >/dev/null; docker exec vv echo in; docker inspect -f '{{.Name}}' vv
      docker ps --format '{{.Names}}'; docker rm -f vv; } > said 2>&1
    echo 1.$minor $(cat said)
done; rm said
"""


@pytest.mark.parametrize("version", CLIS)
def test_versions_of_the_api_from_the_oldest_to_the_newest_work_with_each_docker_command(
    cluster: Cluster, node: str, version: str
) -> None:
    if cluster.sh(node, f"command -v {CLIS[version]}").status != 0:
        pytest.skip(f"the tree has no docker {version}: its suite could not be reached when it was built")
    here = f"mkdir -p bin; ln -sf $(command -v {CLIS[version]}) bin/docker; export PATH=$PWD/bin:$PATH"
    done = cluster.srun(f"{here}\n{VERSIONS}\nrm -r bin", timeout=300)
    first, below, *served, above = [line for line in done.out.splitlines() if line.startswith(("serves ", "1."))]
    lowest, highest = (int(number.removeprefix("1.")) for number in first.split()[1:])
    assert len(served) >= 6, done
    assert [line.partition(" ")[2] for line in served] == ["b 3 in /vv vv vv"] * len(served), done
    assert f"client version 1.{lowest - 1} is too old. Minimum supported API version is 1.{lowest}" in below, done
    assert f"client version 1.{highest + 1} is too new. Maximum supported API version is 1.{highest}" in above, done


DOCKER_PY = """
import docker, json, os, threading
client = docker.from_env(version="auto")
me, home, said = f"{os.getuid()}:{os.getgid()}", os.environ["HOME"], {}
# As Toil calls it (DataBiosphere/toil src/toil/lib/docker.py apiDockerCall).
said["toil"] = client.containers.run(
    image="img", command="echo toil", working_dir=home, entrypoint=None, name="toil", detach=False, stdout=True,
    volumes={home: {"bind": "/data", "mode": "rw"}}, auto_remove=False, stderr=False, stream=False, remove=True,
    log_config=None, user=me, environment=None, device_requests=[],
).decode()
c = client.containers.run("img", ["sh", "-c", "echo one; exec sleep 600"], detach=True, name="py")
said["events"] = []
events = client.events(decode=True, filters={"event": "pause"})
threading.Thread(target=lambda: said["events"].append(next(events)["Actor"]["Attributes"]["name"])).start()
said["top"] = sorted(process[-1] for process in c.top()["Processes"])[-1]
said["stats"] = c.stats(stream=False)["name"]
said["stream"] = next(c.stats(stream=True, decode=True))["name"]
while not said["events"]:
    c.pause(); c.unpause()
c.rename("pie"); c.reload()
said["name"] = c.name
c.restart(timeout=0)
said["list"] = [x.name for x in client.containers.list(filters={"name": "pi", "status": "running"})]
# It loses what comes in one piece with the 101, so the 101 must not wait for the process.
said["exec"] = [c.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True).output for _ in range(10)]
said["exec"] = said["exec"] == [(b"out\\n", b"err\\n")] * 10
said["diff"] = c.diff()
c.kill(); said["wait"] = c.wait()["StatusCode"]
said["logs"] = c.logs().decode()
said["pruned"] = client.containers.prune()["ContainersDeleted"] == [c.id]
said["networks"] = [n.name for n in client.networks.list()]
said["volumes"] = client.volumes.list()
try:
    client.containers.get("nothing")
except docker.errors.NotFound as error:
    said["missing"] = error.explanation
print("SAID", json.dumps(said))
"""


def test_docker_py_of_every_day(cluster: Cluster, node: str) -> None:
    done = cluster.srun(f"/usr/bin/python3 - <<'EOF'\n{DOCKER_PY}\nEOF", timeout=120)
    lines = [line for line in done.out.splitlines() if line.startswith("SAID ")]
    assert lines, done
    said: dict[str, Any] = json.loads(lines[0].removeprefix("SAID "))
    assert said == {
        "toil": "toil\n",
        "events": ["py"],
        "top": "sleep 600",
        "stats": "/py",
        "stream": "/py",
        "name": "pie",
        "list": ["pie"],
        "exec": True,
        "diff": said["diff"],
        "wait": 137,
        "logs": "one\none\n",
        "pruned": True,
        "networks": ["none"],
        "volumes": [],
        "missing": "No such container: nothing",
    }


COMPOSE = """services:
  first:
    image: img
    network_mode: none
    command: sh -c 'echo made by first > /w/out'
    volumes: ["./work:/w"]
  second:
    image: img
    network_mode: none
    depends_on: {first: {condition: service_completed_successfully}}
    command: cat /w/out
    volumes: ["./work:/w:ro"]
"""
NETWORKED = "services: {one: {image: img, command: echo networked}}"


def test_compose_runs_a_file_that_asks_for_no_network(cluster: Cluster, node: str) -> None:
    script = f"""rm -rf composed; mkdir -p composed/work; cd composed; cat > compose.yaml <<'EOF'
{COMPOSE}EOF
docker compose up --no-color; docker compose ps -a --format '{{{{.Service}}}} {{{{.State}}}}'
docker compose logs --no-color second; docker compose down; echo exit $?; docker ps -aq | wc -l; cd; rm -r composed"""
    done = cluster.srun(script, timeout=120)
    assert done.out.count("made by first") == 2, done
    assert "first exited" in done.out and "second exited" in done.out, done
    assert done.out.endswith("exit 0\n0\n"), done


def test_compose_with_a_network_is_refused_in_one_line(cluster: Cluster, node: str) -> None:
    script = f"mkdir -p netted; cd netted; echo '{NETWORKED}' > compose.yaml; docker compose up; cd; rm -r netted"
    done = cluster.srun(script, timeout=120)
    assert "networked" not in done.out.replace("netted", "")
    assert "docker network: a job's container has no network but its loopback" in done.err, done


CWL = {
    "hello.cwl": """cwlVersion: v1.2
class: CommandLineTool
requirements: {DockerRequirement: {dockerPull: "img:latest"}}
baseCommand: [sh, -c, "id -u; cat $0", ]
inputs: {file: {type: File, inputBinding: {position: 1}}}
outputs: {out: {type: stdout}}
stdout: hello.txt
""",
    "count.cwl": """cwlVersion: v1.2
class: CommandLineTool
requirements: {DockerRequirement: {dockerPull: "img:latest"}}
baseCommand: [wc, -l]
inputs: {file: {type: File, inputBinding: {position: 1}}}
outputs: {out: {type: stdout}}
stdout: count.txt
""",
    "flow.cwl": """cwlVersion: v1.2
class: Workflow
inputs: {file: File}
outputs: {count: {type: File, outputSource: count/out}, hello: {type: File, outputSource: hello/out}}
steps:
  hello: {run: hello.cwl, in: {file: file}, out: [out]}
  count: {run: count.cwl, in: {file: hello/out}, out: [out]}
""",
}


TOIL = """
import os
from toil.common import Toil
from toil.job import Job
from toil.lib.docker import apiDockerCall
def write(job):
    said = apiDockerCall(job, "img", parameters=["sh", "-c", "echo one; id -u"], working_dir=os.environ["HOME"])
    return said.decode()
def again(job, text):
    here = job.fileStore.getLocalTempDir()
    with open(f"{here}/in", "w") as file:
        file.write(text)
    return apiDockerCall(job, "img", parameters=["cat", "/data/in"], working_dir=here).decode()
def both(job):
    first = job.addChildJobFn(write, disk="1M", memory="10M")
    return [first.rv(), first.addFollowOnJobFn(again, first.rv(), disk="1M", memory="10M").rv()]
if __name__ == "__main__":
    options = Job.Runner.getDefaultOptions("store")
    options.clean, options.retryCount = "always", 0
    with Toil(options) as toil:
        print("SAID", toil.start(Job.wrapJobFn(both, disk="1M", memory="10M")))
"""


def test_toil_runs_a_workflow(cluster: Cluster, node: str) -> None:
    toil = "/opt/docker-clients/toil"
    if cluster.sh(node, f"[ -d {toil} ]").status != 0:
        pytest.skip("the tree has no Toil: the package index could not be reached when it was built")
    done = cluster.srun(
        f"rm -rf toiled; mkdir toiled; cd toiled; cat > flow.py <<'EOF'\n{TOIL}\nEOF\n"
        f"PATH={toil}/bin:$PATH PYTHONPATH={toil} python3 flow.py; echo exit $?; cd; rm -r toiled",
        options="--mem=700",
        timeout=120,
    )
    assert r"SAID ['one\n1001\n', 'one\n1001\n']" in done.out and done.out.endswith("exit 0\n"), done


def test_cwltool_runs_a_workflow(cluster: Cluster, node: str) -> None:
    files = "\n".join(f"cat > {name} <<'EOF'\n{text}EOF" for name, text in CWL.items())
    script = f"""rm -rf cwl; mkdir cwl; cd cwl
{files}
printf 'one\\ntwo\\n' > in.txt; cwltool --disable-pull --no-doc-cache --outdir out flow.cwl --file in.txt >/dev/null
echo exit $?; cat out/hello.txt out/count.txt; stat -c %U out/hello.txt; cd; rm -r cwl"""
    done = cluster.srun(script, timeout=200)
    lines = done.out.split("exit 0\n")[-1].split("\n")
    assert lines[:3] == ["1001", "one", "two"], done
    assert lines[3].startswith("3 ") and lines[4] == "ann", done


ENGINES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/engines.json").read_text())["engines"]


@pytest.fixture(scope="module")
def engines(cluster: Cluster) -> dict[str, Done]:
    """Each engine's command line, and what it does afterwards."""
    scripts = {}
    for number, (name, engine) in enumerate(ENGINES.items()):
        place = f"/home/ann/engine{number}"
        lines = [shlex.join(word.replace("{w}", place) for word in argv) for argv in (engine["argv"], *engine["then"])]
        scripts[name] = f"mkdir -p {place}/tmp {place}/in; {' && '.join(lines)}; echo exit $?; rm -r {place}"
    return cluster.srun_each(scripts | {"left": "docker ps -aq | wc -l"})


@pytest.mark.parametrize("name", ENGINES)
def test_the_command_line_of_an_engine_runs(engines: dict[str, Done], name: str) -> None:
    out = engines[name].out.splitlines()
    assert ENGINES[name]["prints"] in out and out[-1] == "exit 0", engines[name]
    assert engines["left"].out == "0\n"
