# SPDX-License-Identifier: Apache-2.0
"""--device and --gpus: what of a job's GPUs dockerd is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slurm_hooks.errors import Refused
from slurm_hooks.knobs import devices
from tests.unit.policy import JOB, SITE

CONTROL = ("/dev/nvidiactl", "/dev/nvidiactl", "rw")
FIRST, SECOND = (("/dev/nvidia2", "/dev/nvidia2", "rw"), ("/dev/nvidia0", "/dev/nvidia0", "rw"))


def given(units: dict[str, Any], **changes: Any) -> list[tuple[str, str, str]]:
    """(node, place, rights) of each device that dockerd is asked for."""
    fields = devices.confine(units, replace(JOB, **changes), SITE).fields
    return [tuple(entry.values()) for entry in fields.get(devices.DEVICES, ())]


def gpus(**request: Any) -> dict[str, Any]:
    return {devices.REQUESTS: [{"Driver": "", "Capabilities": [["gpu"]], "Options": {}, **request}]}


def device(path: str, place: str = "", rights: str = "rwm") -> dict[str, Any]:
    return {devices.DEVICES: [{"PathOnHost": path, "PathInContainer": place or path, "CgroupPermissions": rights}]}


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({"Count": -1}, [FIRST, SECOND, CONTROL]),  # --gpus all
        ({"Count": -1, "DeviceIDs": None}, [FIRST, SECOND, CONTROL]),
        ({"Count": 1}, [FIRST, CONTROL]),
        ({"Count": 2, "Driver": "nvidia", "Capabilities": [["compute", "utility", "gpu"]]}, [FIRST, SECOND, CONTROL]),
        ({"DeviceIDs": ["1"]}, [SECOND, CONTROL]),
        ({"Count": 0, "DeviceIDs": ["1", "0"]}, [SECOND, FIRST, CONTROL]),
        ({"Count": 0}, []),
    ],
)
def test_gpus_become_nodes_and_ids_count_within_the_jobs_own(
    request_: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert given(gpus(**request_)) == found


@pytest.mark.parametrize(
    "request_",
    [
        {"Count": 3}, {"Count": 2**70}, {"Count": "1"}, {"DeviceIDs": ["2"]}, {"DeviceIDs": ["-1"]}, {"DeviceIDs": [0]},
        {"DeviceIDs": ["\u00b2"]}, {"DeviceIDs": "0"}, {"DeviceIDs": ["GPU-3a23c669"]},
        {"Count": -1, "Options": {"a": "b"}},
        {"Count": -1, "Driver": "cdi"}, {"Count": -1, "Capabilities": "gpu"}, {"Count": -1, "Capabilities": ["gpu"]},
        {"Count": -1, "Capabilities": None},
    ],
    ids=repr,
)  # fmt: skip
def test_other_requests_are_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"^--gpus"):
        given(gpus(**request_))


@pytest.mark.parametrize("request_", ["all", None, [], 1])
def test_what_is_no_request_is_refused(request_: Any) -> None:
    with pytest.raises(Refused):
        given({devices.REQUESTS: [request_]})


def test_a_gpu_of_several_nodes_is_one_gpu() -> None:
    part = {"/dev/nvidia0": "c 195:0", "/dev/nvidia-caps/nvidia-cap21": "c 237:21"}
    assert [node for node, _, _ in given(gpus(Count=1), gpus=(part,), with_gpu={})] == list(part)


def test_a_device_of_the_job_is_given_without_mknod() -> None:
    assert given(device("/dev/nvidia0")) == [SECOND, CONTROL]
    assert given(device("/dev/nvidia0", "/dev/gpu/x.0", "r")) == [("/dev/nvidia0", "/dev/gpu/x.0", "r"), CONTROL]
    assert given(device("/dev/nvidia0", rights="")) == [SECOND, CONTROL]
    assert given({devices.DEVICES: [{"PathOnHost": "/dev/nvidia0"}]}) == [SECOND, CONTROL]


def test_the_same_device_by_two_flags_is_given_once() -> None:
    assert given(device("/dev/nvidia0") | gpus(Count=-1)) == [SECOND, FIRST, CONTROL]


def test_the_sites_own_nodes_may_be_named() -> None:
    assert given(device("/dev/nvidiactl")) == [CONTROL]
    with pytest.raises(Refused, match=r"^--device /dev/nvidiactl: this job was given no GPU"):
        given(device("/dev/nvidiactl"), gpus=())


@pytest.mark.parametrize(
    "path",
    ["/dev/nvidia1", "/dev/null", "/dev/../dev/nvidia0", "/dev//nvidia0", "/dev/nvidia0/", "dev/nvidia0", "/dev", "",
     "/dev/nvidia", "/proc/1/root/dev/nvidia0", "nvidia.com/gpu=all"],
)  # fmt: skip
def test_another_device_is_refused_and_the_jobs_own_are_named(path: str) -> None:
    with pytest.raises(Refused, match=r"this job was given /dev/nvidia2, /dev/nvidia0. Ask Slurm for it"):
        given(device(path))


@pytest.mark.parametrize(
    "place",
    ["/dev/null", "/dev/pts/0", "/dev/shm/x", "/dev/mqueue/x", "/dev/console", "/dev/fd", "/dev/fd/3", "/dev/core",
     "/dev", "/dev/", "/dev/x/", "/dev/./x", "/dev/../x", "/dev/x/../../y", "/dev/.x", "//dev/x", "/x", "x", "/w/dev/x",
     "/dev/x y",
     "/dev/x\n"],
)  # fmt: skip
def test_a_device_lies_at_a_free_name_below_dev(place: str) -> None:
    with pytest.raises(Refused, match="its place is a free name below /dev"):
        given(device("/dev/nvidia0", place))


@pytest.mark.parametrize("rights", ["m", "x", "rwx", "RW", " "])
def test_a_right_that_there_is_none_of_is_refused(rights: str) -> None:
    with pytest.raises(Refused, match="a device is open to read and write"):
        given(device("/dev/nvidia0", rights=rights))


@pytest.mark.parametrize(
    "entry", ["/dev/nvidia0", None, {"PathOnHost": 1}, {"PathOnHost": "/dev/nvidia0", "x": "y"}, []]
)
def test_what_is_no_device_is_refused(entry: Any) -> None:
    with pytest.raises(Refused):
        given({devices.DEVICES: [entry]})


def test_a_job_without_gpus_is_told_so() -> None:
    for units, flag in ((gpus(Count=-1), "--gpus all"), (device("/dev/nvidia0"), "--device /dev/nvidia0")):
        with pytest.raises(Refused, match=f"^{flag}: this job was given no GPU, and no other device is offered. Ask "):
            given(units, gpus=())


def test_without_a_wish_there_is_none() -> None:
    assert given({}) == []


def test_before_there_is_a_job_nothing_is_judged() -> None:
    assert given(gpus(Count=99), gpus=None) == []
