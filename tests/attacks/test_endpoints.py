# SPDX-License-Identifier: Apache-2.0
"""Every other way into dockerd: routes that are refused whole, exec, and parameters that open a back door."""

from __future__ import annotations

import pytest

from tests.attacks.wire import Parts, Said, in_a_job, request, to_dockerd
from tests.cluster.slurm import Cluster

pytestmark = pytest.mark.anywhere


# method, target, body; `mine` is a running container of the asker's.
REFUSED: dict[str, tuple[str, str, object]] = {
    "update": ("POST", "/containers/mine/update", {"PidsLimit": -1, "RestartPolicy": {"Name": "always"}}),
    "archive, get": ("GET", "/containers/mine/archive?path=/etc", None),
    "archive, head": ("HEAD", "/containers/mine/archive?path=/etc", None),
    "archive, put": ("PUT", "/containers/mine/archive?path=/tmp", "\0" * 1024),
    "export": ("GET", "/containers/mine/export", None),
    "commit": ("POST", "/commit?container=mine&repo=attack-image", {}),
    "a volume of the root": (
        "POST",
        "/volumes/create",
        {"Name": "attack-root", "DriverOpts": {"type": "none", "o": "bind", "device": "/"}},
    ),
    "tag": ("POST", "/images/img/tag?repo=attack-image", None),
    "untag": ("DELETE", "/images/attack-image", None),
    "system df": ("GET", "/system/df", None),
    "image history": ("GET", "/images/img/history", None),
    "image get": ("GET", "/images/get?names=nope", None),
    "exec privileged": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "Privileged": True}),
    "exec privileged in another case": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "privileged": True}),
    "exec as root": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "User": "0"}),
    "exec as root in another case": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "user": "root"}),
    "exec as a group": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "User": "1001:0"}),
    "exec privileged twice": (
        "POST",
        "/containers/mine/exec",
        '{"Cmd": ["id"], "Privileged": false, "Privileged": true}',
    ),
    "exec with a key more": ("POST", "/containers/mine/exec", {"Cmd": ["id"], "Attack": 1}),
    "processes of the whole node": ("GET", "/containers/mine/top?ps_args=-eo%20args,pid", None),
    "prune images": ("POST", '/images/prune?filters={"label":["attack"]}', None),
}
# Not sent to dockerd by the tests: it would take them, and the lab would be another one.
ALWAYS_REFUSED: dict[str, tuple[str, str, object]] = {
    "build": ("POST", "/build?t=attack-image", "FROM img"),
    "build, networked": ("POST", "/build?networkmode=host&remote=http://192.0.2.9/x", None),
    "BuildKit": ("POST", "/grpc", None),
    "load": ("POST", "/images/load", "x"),
    "import": ("POST", "/images/create?fromSrc=-", "x"),
    "import of an address": ("POST", "/images/create?fromSrc=http://192.0.2.9/x", None),
    "pull": ("POST", "/images/create?fromImage=debian", None),
    "push": ("POST", "/images/img/push", None),
    "rmi": ("DELETE", "/images/img", None),
    "rmi by force": ("DELETE", "/images/img?force=1", None),
    "search": ("GET", "/images/search?term=x", None),
    "login": ("POST", "/auth", {"username": "x", "serveraddress": "http://192.0.2.9"}),
    "distribution": ("GET", "/distribution/img/json", None),
    "checkpoint": ("POST", "/containers/mine/checkpoints", {"CheckpointID": "x"}),
    "start of a checkpoint": ("POST", "/containers/mine/start?checkpoint=x&checkpoint-dir=/tmp", None),
    "remove a link": ("DELETE", "/containers/mine?link=1", None),
    "swarm": ("POST", "/swarm/init", {}),
    "service": ("POST", "/services/create", {}),
    "secret": ("POST", "/secrets/create", {}),
    "plugin": ("POST", "/plugins/pull?remote=x", []),
    "network": ("POST", "/networks/create", {"Name": "attack"}),
    "network connect": ("POST", "/networks/host/connect", {"Container": "mine"}),
    "debug": ("GET", "/debug/pprof/", None),
    "debug vars": ("GET", "/debug/vars", None),
    "metrics": ("GET", "/metrics", None),
    "an id that climbs": ("GET", "/containers/..%2Fimages/json", None),
    "an id of nothing": ("GET", "/containers//json", None),
}
EVERY = REFUSED | ALWAYS_REFUSED
CASES: dict[str, Parts] = {name: [request(method, target, body)] for name, (method, target, body) in EVERY.items()}
MINE = "docker run -d --name mine --network none img sleep 600 >/dev/null"
CLEAN = "docker rm -f mine; docker volume rm attack-root; docker rmi attack-image; true"


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> dict[str, Said]:
    """All of them, from one job."""
    return in_a_job(cluster, CASES, before=MINE)


@pytest.fixture(scope="module")
def taken(cluster: Cluster) -> dict[str, Said]:
    """What dockerd itself makes of them."""
    docker = "export DOCKER_HOST=unix:///run/slurm-hooks-docker/docker.sock"
    cluster.must(cluster.node, f"{docker}\n{MINE}; true")
    try:
        return to_dockerd(cluster, {name: CASES[name] for name in REFUSED})
    finally:
        cluster.sh(cluster.node, f"{docker}\n{CLEAN}")


@pytest.mark.parametrize("name", EVERY)
def test_it_is_refused(answers: dict[str, Said], name: str) -> None:
    assert answers[name].statuses in ([400], [403]), answers[name]


@pytest.mark.parametrize("name", REFUSED)
def test_dockerd_itself_takes_it(taken: dict[str, Said], name: str) -> None:
    # 400, 404 and 500 of dockerd's are about what was in the request: it had the endpoint, and asked no leave.
    assert taken[name].status in (200, 201, 204) or name in ("archive, put", "image get"), taken[name]
