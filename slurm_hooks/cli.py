# SPDX-License-Identifier: Apache-2.0
"""The one program for people and units: `slurm-hooks VERB`. Errors become words here, one line each."""

from __future__ import annotations

import argparse
import os
import sys

from slurm_hooks import __version__
from slurm_hooks.errors import HooksError


def parser() -> argparse.ArgumentParser:
    """The command line. Each verb imports what it needs when it runs."""
    top = argparse.ArgumentParser(
        prog="slurm-hooks", description="Docker for Slurm jobs, without giving anyone Docker."
    )
    top.add_argument("--version", action="version", version=f"slurm-hooks {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text, epilog=f"Example: {example}")

    verb("prolog", "Slurm's Prolog: bound the job and open its record.", "slurm-hooks prolog   (called by slurmd)")
    verb(
        "task-prolog", "Slurm's TaskProlog: DOCKER_HOST for a task.", "slurm-hooks task-prolog   (called by slurmstepd)"
    )
    epilog = verb(
        "epilog", "Slurm's Epilog, or by hand for a job: end what it left, look again.", "slurm-hooks epilog 4711"
    )
    epilog.add_argument("job", type=int, nargs="?", help="a job id; without it the environment that slurmd sets")
    epilog.add_argument("--dry-run", action="store_true", help="print the operations, do nothing")
    sweep = verb(
        "sweep", "End what jobs that are over have left, where no Epilog has. Touches nothing of a live job.",
        "slurm-hooks sweep --dry-run",
    )  # fmt: skip
    sweep.add_argument("--dry-run", action="store_true", help="print what is over, why, and the operations; do nothing")
    sweep.add_argument("--json", action="store_true", help="for programs, with what is left alone and why")
    sweep.add_argument(
        "--older-than", type=float, default=300, metavar="SECONDS",
        help="leave younger records alone (300); slurmstepd and slurmctld are asked in any case",
    )  # fmt: skip
    networks = verb(
        "networks", "Resolve what restricted networks reach, and write their firewall where it does not stand.",
        "slurm-hooks networks --dry-run",
    )  # fmt: skip
    networks.add_argument("--dry-run", action="store_true", help="print the rules for nft; do nothing")
    networks.add_argument("--json", action="store_true", help="for programs")
    verb("broker", "Serve the Docker API to jobs (a systemd unit runs it).", "slurm-hooks broker")
    report = verb(
        "report", "What happened in a job, in order; or what holds the node.",
        "slurm-hooks report 4711, slurm-hooks report 4711 --html > 4711.html, slurm-hooks report --node",
    )  # fmt: skip
    of = report.add_mutually_exclusive_group(required=True)
    of.add_argument("job", type=int, nargs="?")
    of.add_argument("--node", action="store_true", help="jobs that are over and are not clean; exit 1 if there are any")
    form = report.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the events as JSON lines")
    form.add_argument("--html", action="store_true", help="the job as one HTML page with a timeline")
    metrics = verb(
        "metrics", "Figures of this node for Prometheus' textfile collector.",
        "slurm-hooks metrics --output /var/lib/prometheus/node-exporter/slurm-hooks.prom",
    )  # fmt: skip
    metrics.add_argument("--output", metavar="FILE", help="replaced at once; without it they are printed")
    check = verb(
        "check", "Is this node set up safely? Each finding with why, and the line that mends it; exit 1: wrong ones.",
        "slurm-hooks check, slurm-hooks check --live --image img, slurm-hooks check --json --strict",
    )  # fmt: skip
    check.add_argument("--json", action="store_true", help="the findings as JSON: name, level, knob, what, why, mend")
    check.add_argument("--strict", action="store_true", help="exit 1 for weak ones too")
    check.add_argument("--live", action="store_true", help="start a container as a job's, read it back, remove it")
    check.add_argument("--image", default="", help="for --live: one that is here and has `sleep`; else the first one")
    install = verb(
        "install", "What slurm.conf, cgroup.conf and dockerd's file lack: shown, or written; exit 1: there is some.",
        "slurm-hooks install, slurm-hooks install --apply, slurm-hooks install --slurm-conf /srv/slurm/slurm.conf",
    )  # fmt: skip
    how = install.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="show what lacks, write nothing; so it is without --apply")
    how.add_argument("--apply", action="store_true", help="write it; the files of before stay beside, with the date")
    install.add_argument("--slurm-conf", default="", metavar="PATH", help="else $SLURM_CONF, or where Slurm looks")
    install.add_argument("--cgroup-conf", default="", metavar="PATH", help="else beside slurm.conf")
    install.add_argument("--daemon-json", default="", metavar="PATH", help="else that of the dockerd that jobs have")
    install.add_argument(
        "--slurm-release", default="", metavar="24.11", help="which Slurm reads slurm.conf; else what scontrol -V says"
    )
    install.add_argument(
        "--leave", action="append", default=[], metavar="NAME", help="pass over a finding of check; may be repeated"
    )
    install.add_argument("--json", action="store_true", help="for programs")
    policy = verb("policy", "What becomes of every request of a Docker client.", "slurm-hooks policy")
    form = policy.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--markdown", action="store_true", help="as docs/policy.md has it")
    policy.add_argument("--defaults", action="store_true", help="what holds without a configuration")
    policy.add_argument("--partition", default="", help="what holds in one that has words of its own")
    explain = verb(
        "explain", "What would become of a docker command in a job; runs nothing.",
        "slurm-hooks explain 'docker run -v $PWD:/w --user 0 img'",
    )  # fmt: skip
    explain.add_argument("--json", action="store_true", help="for programs")
    explain.add_argument("--partition", default="", help="in a job of that partition")
    explain.add_argument("command", nargs=argparse.REMAINDER, help="the command, in quotes or as it is")
    config = verb("config", "Validate the configuration and print what holds.", "slurm-hooks config")
    config.add_argument("file", nargs="?", help="another file than /etc/slurm-hooks/slurm-hooks.toml: only validated")
    config.add_argument("--defaults", action="store_true", help="what holds without a file")
    config.add_argument("--json", action="store_true", help="on one line, as the hooks read it")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; the exit status."""
    wish = parser().parse_args(arguments)
    try:
        return run(wish)
    except HooksError as error:
        print(f"slurm-hooks: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # `slurm-hooks report 1 | head` is no error
        return 0


def run(wish: argparse.Namespace) -> int:
    """Dispatch a parsed command line. Raises HooksError."""
    match wish.verb:
        case "prolog":
            from slurm_hooks import prolog

            return prolog.main()
        case "task-prolog":
            from slurm_hooks import task_prolog

            return task_prolog.main()
        case "epilog":
            return _epilog(wish.job, dry_run=wish.dry_run)
        case "sweep":
            from slurm_hooks import sweep

            return sweep.main(older_than=wish.older_than, dry_run=wish.dry_run, as_json=wish.json)
        case "networks":
            from slurm_hooks import networks

            return networks.main(dry_run=wish.dry_run, as_json=wish.json)
        case "broker":
            from slurm_hooks.broker import server

            return server.main()
        case "report":
            from slurm_hooks import report

            if wish.node and wish.html:
                raise HooksError("report --node --html", "a page is of one job", "Name it, or leave --html out.")
            if wish.node:
                return report.node(as_json=wish.json)
            return report.main(wish.job, as_json=wish.json, as_html=wish.html)
        case "metrics":
            from slurm_hooks import metrics

            return metrics.main(wish.output)
        case "check":
            from slurm_hooks import check

            return check.main(as_json=wish.json, strict=wish.strict, live=wish.live, image=wish.image)
        case "install":
            from slurm_hooks import install

            return install.main(
                apply=wish.apply, as_json=wish.json, slurm_conf=wish.slurm_conf, cgroup_conf=wish.cgroup_conf,
                daemon_json=wish.daemon_json, release=wish.slurm_release, leave=wish.leave,
            )  # fmt: skip
        case "policy":
            from slurm_hooks import policy
            from slurm_hooks.config import load
            from slurm_hooks.settings import Settings

            site = Settings() if wish.defaults else load(keep=False)
            return policy.main(site, wish.partition, as_json=wish.json, as_markdown=wish.markdown)
        case "explain":
            from slurm_hooks import explain

            if not wish.command:
                raise HooksError("explain", "no command is given", "For example: slurm-hooks explain 'docker run img'.")
            return explain.main(wish.command, wish.partition, as_json=wish.json)
    return _config(wish.file, as_json=wish.json, defaults=wish.defaults)


def _epilog(job_id: int | None, *, dry_run: bool) -> int:
    from slurm_hooks import controller, epilog, jobs

    if job_id is None and not dry_run:
        return epilog.main()
    job = jobs.latest(job_id) if job_id is not None else next(iter(epilog.ended(os.environ)), None)
    if job is None:
        raise HooksError(
            f"job {job_id or os.environ.get('SLURM_JOB_ID')}",
            "no record of it on this node",
            "Its containers, if any, carry the label slurm-hooks.job.",
        )
    if dry_run:
        from slurm_hooks import teardown

        for operation in teardown.plan(job):
            print(operation)
        return 0
    if job.state == jobs.OPEN and controller.connect().is_alive(job_id or job.id):
        raise HooksError(f"job {job.id}", "Slurm says that it is not over", "scancel it; slurmd then runs the epilog.")
    before = job.verdict
    status = epilog.finish(job)
    if status == 0 and before not in ("", "clean"):
        print(f"If nothing else holds the node: scontrol update nodename={job.node} state=resume")
    return status


def _config(file: str | None, *, as_json: bool, defaults: bool) -> int:
    import msgspec

    from slurm_hooks import config
    from slurm_hooks.settings import Settings

    settings = Settings() if defaults else config.load(file or config.SOURCE, keep=not file)
    text = msgspec.json.encode(settings)
    print(text.decode() if as_json else msgspec.json.format(text, indent=2).decode())
    return 0
