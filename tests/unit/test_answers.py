# SPDX-License-Identifier: Apache-2.0
"""What a job sees of dockerd's answers: its own names and paths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm_hooks.broker import answers
from slurm_hooks.knobs import seccomp

PREFIX = answers.prefix(4711, 0)
STAGE = "/run/slurm-hooks/stage/4711-0-0123abcd/ffff/0"
SOURCES = {STAGE: "/home/ada/data"}


def inspected(container: dict[str, Any]) -> dict[str, Any]:
    return answers.inspected(container, PREFIX, SOURCES)


def test_names_of_two_jobs_and_of_two_starts_do_not_collide() -> None:
    assert len({answers.prefix(1, 0), answers.prefix(1, 1), answers.prefix(11, 0), answers.prefix(1, 10)}) == 4


def test_a_container_goes_by_the_name_that_the_job_gave() -> None:
    assert inspected({"Name": f"/{PREFIX}mine"})["Name"] == "/mine"


def test_a_mount_has_the_source_that_the_user_typed() -> None:
    seen = inspected(
        {
            "Name": f"/{PREFIX}c",
            "Mounts": [{"Source": STAGE, "Destination": "/data"}, {"Type": "tmpfs", "Source": ""}],
            "HostConfig": {"Mounts": [{"Type": "bind", "Source": STAGE, "Target": "/data"}], "Memory": 1},
        }
    )
    assert [mount["Source"] for mount in seen["Mounts"]] == ["/home/ada/data", ""]
    assert seen["HostConfig"] == {
        "Mounts": [{"Type": "bind", "Source": "/home/ada/data", "Target": "/data"}],
        "Memory": 1,
    }
    assert STAGE not in json.dumps(seen)


def test_what_was_staged_read_only_is_shown_so() -> None:
    mounts = [{"Source": STAGE, "Destination": "/data", "RW": True}]
    container = {"Mounts": mounts, "HostConfig": {"Mounts": [{"Source": STAGE, "Target": "/data"}]}}
    seen = answers.inspected(container, PREFIX, {STAGE: "/home/ada/data"}, [STAGE])
    assert not seen["Mounts"][0]["RW"]
    assert seen["HostConfig"]["Mounts"][0]["ReadOnly"]
    assert not answers.listed([{"Mounts": mounts}], PREFIX, {STAGE: "/home/ada/data"}, [STAGE])[0]["Mounts"][0]["RW"]


def test_the_filter_is_shown_by_its_name() -> None:
    options = ["no-new-privileges=true", f"seccomp={seccomp.PROFILES['allow']}"]
    seen = inspected({"HostConfig": {"SecurityOpt": options}})
    assert seen["HostConfig"]["SecurityOpt"] == ["no-new-privileges=true", "seccomp=slurm-hooks"]


def test_dockerds_own_value_is_not_changed() -> None:
    value = {"Name": f"/{PREFIX}c", "Mounts": [{"Source": STAGE}], "HostConfig": {"Mounts": [{"Source": STAGE}]}}
    before = json.dumps(value)
    inspected(value)
    assert json.dumps(value) == before


@pytest.mark.parametrize("value", [{}, {"Name": None}, {"Mounts": None}, {"HostConfig": None}, {"Mounts": ["?"]}])
def test_an_answer_of_another_shape_is_passed(value: dict[str, Any]) -> None:
    assert inspected(value) == value


def test_a_list_has_the_jobs_names_and_sources() -> None:
    found = answers.listed(
        [{"Names": [f"/{PREFIX}a"], "Mounts": [{"Source": STAGE}]}, {"Names": None}], PREFIX, SOURCES
    )
    assert found == [{"Names": ["/a"], "Mounts": [{"Source": "/home/ada/data"}]}, {"Names": []}]


def test_dockerds_words_have_the_jobs_names() -> None:
    text = f'Conflict. The container name "/{PREFIX}a" is already in use'
    assert answers.message(text, PREFIX) == 'Conflict. The container name "/a" is already in use'


def test_an_event_has_the_jobs_names_and_no_trace_of_ours() -> None:
    line = {
        "Type": "container",
        "Action": "rename",
        "Actor": {"ID": "c" * 64, "Attributes": {"name": f"{PREFIX}new", "oldName": f"/{PREFIX}old", "image": "img"}},
    }
    seen = answers.event(line, PREFIX)
    assert seen["Actor"] == {"ID": "c" * 64, "Attributes": {"name": "new", "oldName": "/old", "image": "img"}}
    assert PREFIX in json.dumps(line), "dockerd's own value is not changed"


def test_stats_have_the_jobs_name() -> None:
    assert answers.stats({"name": f"/{PREFIX}c", "id": "c"}, PREFIX) == {"name": "/c", "id": "c"}


@pytest.mark.parametrize("value", [None, [], {}, {"Actor": None}, {"Actor": {"Attributes": 1}}, {"name": 1}])
def test_a_line_of_another_shape_is_passed(value: Any) -> None:
    assert answers.event(value, PREFIX) == value
    assert answers.stats(value, PREFIX) == value


@pytest.mark.parametrize("asked", [{}, {"name": ["none"]}, {"driver": ["null"]}, {"type": ["builtin"]}, {"id": ["00"]}])
def test_a_job_has_the_network_that_is_none(asked: dict[str, list[str]]) -> None:
    assert [network["Name"] for network in answers.networks(asked)] == ["none"]


@pytest.mark.parametrize(
    "asked", [{"name": ["host"]}, {"label": ["com.docker.compose.project=x"]}, {"type": ["custom"]}]
)
def test_another_network_is_not_found(asked: dict[str, list[str]]) -> None:
    assert answers.networks(asked) == []


def test_what_the_site_offers_is_there_by_its_name() -> None:
    assert [one["Name"] for one in answers.networks({}, ("mirror", "licenses"))] == ["none", "licenses", "mirror"]
    assert [one["Name"] for one in answers.networks({"type": ["custom"]}, ("mirror",))] == ["mirror"]


def test_a_container_is_in_the_network_that_was_typed() -> None:
    name = "slurm-hooks-1-0-aa-licenses"
    seen = answers.joined(
        {"HostConfig": {"NetworkMode": name}, "NetworkSettings": {"Networks": {name: {"IPAddress": "198.18.0.2"}}}},
        "1-0-aa",
    )
    assert seen["HostConfig"]["NetworkMode"] == "licenses"
    assert seen["NetworkSettings"]["Networks"] == {"licenses": {"IPAddress": "198.18.0.2"}}


def test_a_container_that_dockerd_knows_in_no_network_is_in_none() -> None:
    seen = answers.joined({"HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {}}}, "1-0-aa")
    assert [*seen["NetworkSettings"]["Networks"]] == ["none"]
    assert answers.in_one_of(seen, ["none"]) and answers.in_one_of(seen, [answers.NETWORK["Id"]])
    assert answers.in_one_of(seen, None) and not answers.in_one_of(seen, ["licenses"])


@pytest.mark.parametrize(
    "value", [{}, {"HostConfig": None}, {"NetworkSettings": {"Networks": None}}, {"HostConfig": {}}]
)
def test_a_container_of_another_shape_is_passed(value: dict[str, Any]) -> None:
    assert answers.joined(value, "1-0-aa") == value
