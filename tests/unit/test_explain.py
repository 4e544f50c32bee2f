# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks explain`: what a docker command would meet, told beforehand; as the real client's request would be."""

from __future__ import annotations

import json
import shlex

import pytest

from slurm_hooks import cli, commandline, explain
from slurm_hooks.broker import model
from slurm_hooks.errors import BadRequest, Refused
from slurm_hooks.explain import Line
from slurm_hooks.knobs import OWNERS
from slurm_hooks.settings import Settings
from tests.unit import policy
from tests.unit.policy import JOB, SITE
from tests.unit.test_refusals import COMMANDS, FLAGS
from tests.unit.test_settings import site

# Of the catalogue: what no command line can say, and two networks, which are refused in the words for one.
NOT_TYPED = (
    "(twice)", "(65 times)", "(BindOptions a string)", "(with another key)", "(and a count)", "(of another ",
    "--network none --network mine",
)  # fmt: skip


def read(line: str, directory: str = "/home/u") -> commandline.Command:
    return commandline.read(shlex.split(line), directory)


def explained(line: str, settings: Settings = SITE) -> list[Line]:
    return explain.explain(read(line), JOB, settings)


def of(action: str, line: str, settings: Settings = SITE) -> list[str]:
    return [f"{one.what}: {one.words} ({one.knob})" for one in explained(line, settings) if one.action == action]


def units_of(line: str) -> model.Units:
    command = read(line)
    body = command.body() | {"Image": command.subject, "Cmd": list(command.arguments)}
    return model.units(model.decode(json.dumps(body).encode(), model.Create))


def test_a_command_is_read_as_the_client_sends_it() -> None:
    # tests/golden/cli-run-rich.json is what docker CLI 28.2.2 sent for this command.
    sent = model.units(model.decode(json.dumps(policy.cli("cli-run-rich")).encode(), model.Create))
    client_alone = {"AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "NetworkingConfig",
                    "HostConfig.NetworkMode"}  # fmt: skip
    assert units_of(
        "docker run --rm -i -v /home/u/data:/data:ro -w /data -e A=1 --name one --entrypoint /bin/sh --memory 64m "
        "--user 1001:1002 --label stage=one img -c 'echo hi'"
    ) == {unit: value for unit, value in sent.items() if unit not in client_alone}


@pytest.mark.parametrize(
    "line",
    [
        "docker run -it --rm -eA=1 -m64m img -v x",
        "docker run -ti --rm=true -e A=1 -m=64m -- img -v x",
        "/usr/bin/docker --host unix:///x --debug run --rm --tty --interactive --env=A=1 --memory 65536k img -v x",
        "docker container run -i -t --rm --env A=1 --memory=64mb img -v x",
    ],
)
def test_flags_are_read_in_each_of_their_forms(line: str) -> None:
    assert units_of(line) == {
        "OpenStdin": True, "Tty": True, "Env": ["A=1"], "Image": "img", "Cmd": ["-v", "x"],
        "HostConfig.AutoRemove": True, "HostConfig.Memory": 1 << 26,
    }  # fmt: skip


def test_a_relative_source_is_the_clients_to_resolve() -> None:
    assert units_of("docker run -v ./a/../b:/x -v .:/y -v /c:/z img")["HostConfig.Binds"] == [
        "/home/u/b:/x", "/home/u:/y", "/c:/z",
    ]  # fmt: skip


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if not any(word in flag for word in NOT_TYPED)])
def test_each_refusal_of_the_catalogue_is_told_beforehand(flag: str) -> None:
    with pytest.raises((Refused, BadRequest)) as refusal:
        policy.decide(policy.cli(**FLAGS[flag]))
    refused = [line for line in explained(f"docker run {flag} img") if line.action == "refused"]
    assert any(line.words.startswith(refusal.value.why or refusal.value.what) for line in refused), refused


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_is_refused_is_told_beforehand(line: str) -> None:
    known = line.split()[1] not in ("container", "manifest")  # these are not in the table of commands
    assert [one.action for one in explained(line)] == ["refused" if known else "unknown"]


@pytest.mark.parametrize(
    "line", ["docker ps -a", "docker images", "docker logs -f c", "docker stop c", "docker image ls"]
)
def test_a_command_that_is_served_is_told_to_pass(line: str) -> None:
    assert [one.action for one in explained(line)] == ["passes"]


def test_every_refusal_is_told_at_once_and_by_whom() -> None:
    assert of("refused", "docker run --user 0 --cap-add SYS_ADMIN -p 80:80 img") == [
        "--user 0: a job's container runs as the job's own user, 1001:1002. Leave --user out; root inside is for the "
        "site to allow (container.root). (identity)",
        "--cap-add SYS_ADMIN: a job's container has no capabilities. Leave it out. (capabilities)",
        "-p 80:80: a job's container has no network but its own loopback. Leave it out. (network)",
    ]


@pytest.mark.parametrize(
    ("option", "action", "knob"),
    [
        ("seccomp=unconfined", "refused", "seccomp"),
        ("apparmor=unconfined", "refused", "apparmor"),
        ("label=disable", "refused", "selinux"),
        ("systempaths=unconfined", "refused", "proc"),
        ("writable-cgroups", "refused", "cgroup"),
        ("no-new-privileges", "forced", "capabilities"),
        ("nobodys=1", "refused", ""),
    ],
)
def test_a_security_option_is_told_by_the_knob_that_owns_its_key(option: str, action: str, knob: str) -> None:
    typed = f"--security-opt {option}"
    told = [(one.action, one.knob) for one in explained(f"docker run {typed} img") if one.what == typed]
    assert told == [(action, knob)]


def test_what_is_forced_without_being_asked_is_told() -> None:
    forced = of("forced", "docker run img")
    assert "--user 1001:1002: a job's container runs as the job's own user; root inside: refuse (identity)" in forced
    assert "--cap-drop ALL: a job's container has no capabilities (capabilities)" in forced
    assert "--pids-limit 1024: or the job's own figure where that is less (pids)" in forced


def test_a_wish_that_is_overwritten_is_told_as_such() -> None:
    assert "--cap-drop CHOWN: ALL: a job's container has no capabilities (capabilities)" in of(
        "forced", "docker run --cap-drop CHOWN img"
    )


def test_what_the_flags_make_together_is_judged_too() -> None:
    assert of("refused", "docker run -v /a:/x -v /b:/x/y img") == [
        "-v …:/x: /x/y lies in it, and could be led elsewhere. Mount side by side. ()"
    ]
    assert of("refused", "docker run --memory 1g --memory-swap 1g img") == []
    assert of("refused", "docker run --memory 1g --memory-swap 2g img") != []


def test_a_place_is_judged_as_typed_and_its_opening_is_left_to_the_launch() -> None:
    assert of("refused", "docker run -v /etc:/x img")[0].startswith(
        "-v /etc: /etc is the node's own, unless it is a link"
    )
    assert of("later", "docker run -v /home/u:/x img")[0].startswith("-v /home/u:/x: opened as you at the launch")


def test_which_gpus_a_job_gets_is_left_to_the_launch() -> None:
    line = "docker run --gpus all --device /dev/nvidia0:/dev/x:rw img"
    said = explain.explain(read(line), explain.asker(Settings()), Settings())
    assert [one.what for one in said if one.knob == "devices"] == ["--gpus all", "--device /dev/nvidia0:/dev/x:rw"]
    assert {one.action for one in said if one.knob == "devices"} == {"later"}


def test_the_sites_configuration_counts() -> None:
    own = site("[container]\npids = 10\nreadonly_root = false\n".replace("10", "20"))
    assert "--pids-limit 20: or the job's own figure where that is less (pids)" in of("forced", "docker run img", own)
    assert not any("--read-only" in line for line in of("forced", "docker run img", own))


def test_a_flag_that_is_not_known_is_said_to_be() -> None:
    assert of("unknown", "docker run --frobnicate img") == [
        "--frobnicate: not a flag of docker run that is known here ()"
    ]


def test_an_exec_is_explained_by_its_own_rules() -> None:
    assert of("refused", "docker exec -it --user 0 --privileged c id") == [
        "docker exec --user 0: it runs as the job's own user, 1001:1002. Leave --user out. (execs)",
        "docker exec --privileged: a job's container has no privilege over the node. Leave it out. (execs)",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("podman run img", "a docker command is wanted"),
        ("docker run", "an image is wanted"),
        ("docker exec -it", "a container is wanted"),
        ("docker run --memory", "needs a value"),
        ("docker run --memory much img", "not a size"),
        ("docker run --pids-limit x img", "not a number"),
        ("docker run --cpus x img", "not a number of processors"),
        ("docker run --ulimit nofile img", "not NAME=SOFT:HARD"),
        ("docker run --rm=perhaps img", "neither true nor false"),
    ],
)
def test_a_command_that_cannot_be_read_is_said_to_be(line: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read(line)


@pytest.mark.parametrize("name", commandline.RUN)
def test_each_flag_of_the_table_fills_a_unit_that_has_an_owner(name: str) -> None:
    how, unit = commandline.RUN[name]
    assert how.rstrip("=") == "client" or how in commandline.READERS
    assert unit in OWNERS or unit in ("", "HostConfig.SecurityOpt")


def test_the_verb_prints_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "docker run --rm --privileged img"]) == 1
    assert "Refused:\n  --privileged: " in capsys.readouterr().out
    assert cli.main(["explain", "--json", "docker", "run", "--rm", "img"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["refused"], data["command"]) == (False, "docker run --rm img")
    assert cli.main(["explain"]) == 1
    assert cli.main(["explain", "docker run 'img"]) == 1
    assert "Put it in quotes" in capsys.readouterr().err


def test_a_network_that_the_site_offers_passes() -> None:
    offers = site("[network.licenses]\nreach = ['10.1.2.3:27000/tcp']")
    said = "the services that the site lists for it, and nothing else (network)"
    assert of("passes", "docker run --network licenses img", offers) == [f"--network licenses: {said}"]
    (refused,) = of("refused", "docker run --network mine img", offers)
    assert "or name what the site offers: licenses" in refused
