# SPDX-License-Identifier: Apache-2.0
"""What a job sees of dockerd's answers: its own names and paths; and filters that stay with its own containers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slurm_hooks.broker import answers

PREFIX = answers.prefix(4711, 0)
STAGE = "/run/slurm-hooks/stage/4711-0-0123abcd/ffff/0"
SOURCES = {STAGE: "/home/ada/data"}
MINE = "slurm-hooks.job=4711-0-0123abcd"


def inspected(container: dict[str, Any]) -> dict[str, Any]:
    return answers.inspected(container, PREFIX, SOURCES)


def filters(asked: Any) -> dict[str, list[str]]:
    return answers.filters_for("4711-0-0123abcd", asked, PREFIX, "slurm-hooks.job")


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


@pytest.mark.parametrize("asked", [{}, None, [], "x", 1, {"label": []}, {"label": {}}, {"label": 1}, {"label": [1]}])
def test_a_list_is_always_of_the_jobs_own(asked: Any) -> None:
    assert filters(asked)["label"] == [MINE]


@pytest.mark.parametrize("label", [{"a=b": True}, ["a=b"]], ids=["of today", "of old"])
def test_a_label_filter_is_added_to_ours(label: Any) -> None:
    assert filters({"label": label}) == {"label": ["a=b", MINE]}


def test_a_label_of_another_job_makes_an_empty_list_not_another_list() -> None:
    # moby wants every label of the list on a container.
    assert filters({"label": ["slurm-hooks.job=1-0-0"]})["label"] == ["slurm-hooks.job=1-0-0", MINE]


def test_a_value_that_is_switched_off_is_no_filter() -> None:
    assert filters({"status": {"running": True, "exited": False}})["status"] == ["running"]


@pytest.mark.parametrize("name", ["^mine$", "^/mine$"])
def test_an_anchored_name_is_anchored_behind_our_prefix(name: str) -> None:
    import re

    (expression,) = filters({"name": {name: True}})["name"]
    assert re.search(expression, f"/{PREFIX}mine")
    assert not re.search(expression, f"/{PREFIX}another-mine")


def test_a_dot_of_our_prefix_is_a_dot() -> None:
    import re

    (expression,) = filters({"name": ["^c"]})["name"]
    assert not re.search(expression, "/slurm-4711-0Xc")
