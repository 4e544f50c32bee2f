# SPDX-License-Identifier: Apache-2.0
"""Which GPUs Slurm gave a job, as device nodes. The Prolog imports it for a job that has some, and for no other.

The Prolog's environment says which, by their place in slurmd's own list: SLURM_JOB_GPUS=0,2 (gres_common.c,
gres_common_prep_set_env). The number at the end of a device's name is another one. The list is what gres.conf,
slurm.conf and AutoDetect make together; `slurmd -G` prints it from the node's files, without a word to slurmctld. What
slurmd says is root's word; the job's own CUDA_VISIBLE_DEVICES is the user's to write and decides nothing.
"""

from __future__ import annotations

import os
import re
import subprocess

from slurm_hooks import devnodes, events
from slurm_hooks.cgroups import slurm
from slurm_hooks.errors import BadEnvironment, HooksError, NodeFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from slurm_hooks import jobs

LINE = re.compile(r"Gres Name=gpu .*?Count=(\d+) .*?File=(\S+)")
SECONDS = 20.0  # AutoDetect may wake the GPUs' driver


def note(job: jobs.Job, environ: Mapping[str, str], settings: dict[str, Any]) -> list[str]:
    """Put the job's GPUs into its record; their device nodes. Where they are not known its containers run without."""
    try:
        job.gpus = of_job(environ)
    except HooksError as error:
        events.record("gpus-unknown", job=job.id, restart=job.restart, why=str(error))
        return []
    job.with_gpu = nodes_of(settings.get("devices", {}).get("with_gpu", ()))
    return [path for nodes in job.gpus for path in nodes]


def of_job(environ: Mapping[str, str]) -> list[dict[str, str]]:
    """Each GPU of the job as its device nodes: path → kind and numbers, "c 195:0". Raises HooksError."""
    all_of_node = listed(_asked(environ))
    found = []
    for place in environ["SLURM_JOB_GPUS"].split(","):
        if not (place.isascii() and place.isdigit() and int(place) < len(all_of_node)):
            raise BadEnvironment("SLURM_JOB_GPUS", f"slurmd -G has no GPU {place[:20]!r}")
        nodes = nodes_of(all_of_node[int(place)])
        if len(nodes) != len(all_of_node[int(place)]):
            raise NodeFault(" ".join(all_of_node[int(place)]), "not all of it is there, and a device")
        found.append(nodes)
    return found


def nodes_of(paths: Iterable[str]) -> dict[str, str]:
    """Those of the paths that are device nodes, as their names mean it now: path → "c 195:255"."""
    found = {}
    for path in paths:
        try:
            facts = os.stat(path)
        except OSError:
            continue
        if numbers := devnodes.numbers_of(facts):
            found[path] = numbers
    return found


def listed(said: str) -> list[list[str]]:
    """The node's GPUs in slurmd's order, by what `slurmd -G` says: the files of each. Pure."""
    found: list[list[str]] = []
    for count, file in LINE.findall(said):
        files = list(_expanded(file))
        # MultipleFiles= of gres.conf: a part of a GPU (MIG) that is several files.
        found += [files] if int(count) == 1 else [[one] for one in files]
    return found


def _expanded(file: str) -> Iterator[str]:
    """Slurm's short form of a list: /dev/nvidia[0-1,3],/dev/x."""
    for word in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", file):
        head, bracket, rest = word.partition("[")
        inside, _, tail = rest.partition("]")
        if not bracket:
            yield word
            continue
        for part in inside.split(","):
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield f"{head}{number:0{len(first)}d}{tail}"


def _asked(environ: Mapping[str, str]) -> str:
    binary = slurm.slurmd()
    if not binary:
        raise NodeFault("slurmd", "not found, so the job's GPUs are not known")
    # -N: a node may have another name than its host. -v: SlurmdDebug=error would keep the list from being printed.
    keep = {name: environ[name] for name in ("SLURM_CONF",) if name in environ}
    try:
        done = subprocess.run(
            [binary, "-G", "-v", "-N", environ.get("SLURMD_NODENAME", "")],
            capture_output=True, text=True, timeout=SECONDS, check=False, env={"LC_ALL": "C", **keep},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NodeFault(f"{binary} -G", f"the job's GPUs are not known ({error})") from None
    return done.stdout + done.stderr
