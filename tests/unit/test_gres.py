# SPDX-License-Identifier: Apache-2.0
"""Which GPUs a job has: SLURM_JOB_GPUS counts in the list that `slurmd -G` prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurm_hooks import events, gres, jobs, linux
from slurm_hooks.cgroups import slurm
from tests.unit.test_jobs import ENVIRON, job_of

# Slurm 24.11.5, lab (b); as it prints a range, gres.conf's MultipleFiles= and AutoDetect is from Slurm's code (gres.c).
SAID = """\
slurmd: error: Controller cpuset is not enabled!
slurmd: Gres Name=gpu Type=b Count=1 Index=5 ID=7696487 File=/dev/gpu5 Links=(null) Flags=HAS_FILE,HAS_TYPE,ENV_NVML
slurmd: Gres Name=gpu Type=a Count=1 Index=1 ID=7696487 File=/dev/gpu1 Links=(null) Flags=HAS_FILE,HAS_TYPE,ENV_NVML
slurmd: Gres Name=fpga Type=(null) Count=1 Index=0 ID=1634168934 File=/dev/fpga0 Links=(null) Flags=HAS_FILE
"""


def line(count: int, file: str, name: str = "gpu") -> str:
    return (
        f"slurmd: Gres Name={name} Type=a Count={count} Index=0 ID=7 File={file} Cores=0-3 CoreCnt=4 Links=-1,0 Flags=x"
    )


def test_the_order_is_slurmds_and_not_that_of_the_numbers() -> None:
    assert gres.listed(SAID) == [["/dev/gpu5"], ["/dev/gpu1"]]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (line(4, "/dev/nvidia[0-1,3,9-9]"), [["/dev/nvidia0"], ["/dev/nvidia1"], ["/dev/nvidia3"], ["/dev/nvidia9"]]),
        (line(3, "/dev/dri/renderD[127-128],/dev/x"), [["/dev/dri/renderD127"], ["/dev/dri/renderD128"], ["/dev/x"]]),
        (line(3, "/dev/a[08-10]"), [["/dev/a08"], ["/dev/a09"], ["/dev/a10"]]),
        (line(1, "/dev/nvidia0,/dev/nvidia-caps/nvidia-cap[21-22]"),
         [["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap21", "/dev/nvidia-caps/nvidia-cap22"]]),
        (line(4, "/dev/nvidia[0-1]", name="shard"), []),
        ("slurmd: Gres Name=gpu Type=(null) Count=4 ID=7696487 Links=(null) Flags=x\n" + line(1, "/dev/b", "nic"), []),
        ("", []),
    ],
)  # fmt: skip
def test_ranges_and_parts_of_a_gpu_are_read(said: str, found: list[list[str]]) -> None:
    assert gres.listed(said) == found


def test_only_device_nodes_count_by_what_they_mean_now(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "file").touch()
    paths = [str(tmp_path / name) for name in ("link", "file", "missing")]
    assert gres.nodes_of([*paths, "/dev/null"]) == {paths[0]: "c 1:5", "/dev/null": "c 1:3"}


@pytest.fixture
def slurmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A slurmd whose GPUs are /dev/zero and /dev/full, in this order; it writes down how it was called."""
    program = tmp_path / "slurmd"
    program.write_text(
        f"#!/bin/sh\necho $* $SLURM_CONF >{tmp_path}/called\ncat >&2 <<E\n{line(2, '/dev/zero,/dev/full')}\nE\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(slurm, "slurmd", lambda: str(program))
    return program


def noted(log: Path, **environ: str) -> tuple[jobs.Job, list[str], list[str]]:
    """The job, what the Prolog's event gets, and why GPUs are not known."""
    job = job_of()
    paths = gres.note(job, {**ENVIRON, **environ}, {"devices": {"with_gpu": ["/dev/null", "/dev/none"]}})
    return job, paths, [event["why"] for event in events.read(str(log))]


def test_the_jobs_gpus_are_in_its_record(slurmd: Path, log: Path, run: Path) -> None:
    job, paths, why = noted(log, SLURM_JOB_GPUS="1,0", SLURM_CONF="/conf/slurm.conf")
    assert (job.gpus, job.with_gpu) == ([{"/dev/full": "c 1:7"}, {"/dev/zero": "c 1:5"}], {"/dev/null": "c 1:3"})
    assert (paths, why) == (["/dev/full", "/dev/zero"], [])
    assert (slurmd.parent / "called").read_text() == "-G -v -N cn1 /conf/slurm.conf\n"
    jobs.create(job, str(run))
    kept = jobs.load(job.key, str(run))
    assert kept is not None and (kept.gpus, kept.with_gpu) == (job.gpus, job.with_gpu)


@pytest.mark.parametrize("value", ["2", "-1", "", "0,", "0-1", "GPU-3a23c669", "\u00b2", "NoDevFiles"])
def test_a_gpu_that_slurmd_does_not_name_gives_none_and_is_told(slurmd: Path, log: Path, value: str) -> None:
    job, paths, why = noted(log, SLURM_JOB_GPUS=value)
    assert (job.gpus, job.with_gpu, paths) == ([], {}, [])
    assert why[0].startswith("SLURM_JOB_GPUS: slurmd -G has no GPU ")


def test_a_file_that_is_no_device_gives_none(slurmd: Path, log: Path) -> None:
    slurmd.write_text(slurmd.read_text().replace("/dev/full", "/etc/passwd"))
    job, _, why = noted(log, SLURM_JOB_GPUS="0,1")
    assert (job.gpus, why) == ([], ["/etc/passwd: not all of it is there, and a device"])


def test_a_slurmd_that_cannot_be_asked_gives_none(slurmd: Path, log: Path) -> None:
    slurmd.unlink()
    job, _, why = noted(log, SLURM_JOB_GPUS="0")
    assert job.gpus == [] and "the job's GPUs are not known" in why[0]


def test_a_record_of_before_has_no_gpus(run: Path) -> None:
    job = job_of()
    jobs.create(job, str(run))
    path = run / "jobs" / job.key / "job"
    old = json.loads(path.read_text())
    del old["gpus"], old["with_gpu"]
    linux.replace(str(path), json.dumps(old))
    kept = jobs.load(job.key, str(run))
    assert kept is not None and (kept.gpus, kept.with_gpu) == ([], {})
