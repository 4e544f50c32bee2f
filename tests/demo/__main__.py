# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.demo`: bring the cluster up, tell the story, exit 1 where a statement of it is not so."""

from __future__ import annotations

import argparse
import sys

from tests.cluster.slurm import Cluster, TooLate
from tests.demo import scenes
from tests.demo.story import NotSo, Story
from tests.labs import lab_named
from tests.labs.base import LabMissing

EXPLORE = """On the nodes nothing of these jobs is left. The cluster still runs; to look around:

    make shell                              # ann, on the controller: sbatch, srun, squeue
    make shell HOST=cn1 AS=root             # a node: slurm-hooks report, check; docker -H …
    make clean                              # stop it; what was built stays in a cache (make distclean)"""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.demo",
        description="What slurm-hooks does, in seven scenes on a real Slurm cluster.",
        epilog="example: python3 -m tests.demo --lab uml",
    )
    parser.add_argument("--lab", choices=("compose", "uml"), default="compose", help="where (default: compose)")
    parser.add_argument("--down", action="store_true", help="stop the cluster afterwards")
    wish = parser.parse_args()
    story = Story()
    story.wait("a Slurm cluster is built and started (minutes the first time, seconds after that)")
    lab = lab_named(wish.lab)
    try:
        lab.up()
    except LabMissing as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    demo = scenes.Demo(Cluster(lab), story)
    try:
        for node in lab.nodes:
            demo.cluster.wait_idle(node)
        # A minute is Slurm's smallest limit, so this job starts early and ends in the fifth scene: before the first
        # scene, which wants its node for itself, where there is another one.
        script, options = "docker run -d img sleep 600; sleep 600", "-t 1 --mem=200"
        if len(lab.nodes) > 1:
            limited = demo.cluster.sbatch(script, node=lab.nodes[-1], options=options)
            scenes.a_job_without_containers(demo)
        else:
            scenes.a_job_without_containers(demo)
            limited = demo.cluster.sbatch(script, options=options)
        scenes.docker_run_in_a_job(demo)
        scenes.a_fork_bomb(demo)
        scenes.refusals(demo)
        scenes.ends(demo, limited)
        scenes.what_cannot_be_ended(demo)
        scenes.reports(demo)
        scenes.nothing_left(demo)
    except (NotSo, TooLate) as error:
        print(f"\nThe demo ends here, since this is not so: {error}", file=sys.stderr)
        return 1
    finally:
        demo.cluster.sh(lab.controller, "scancel -u ann; scancel -u bob")
    if wish.down:
        lab.down()
    story.end("" if wish.down else EXPLORE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
