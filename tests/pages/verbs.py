# SPDX-License-Identifier: Apache-2.0
"""slurm-hooks(1) and a page for each verb, from the tree of the command line; what it does not say is said here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from slurm_hooks import cli
from tests.pages.roff import bold, example, items, marked, page, plain, section, slanted

ABOUT = (
    "A user writes `docker run` in a job script. The container lands inside the job's own cgroup, as the job's own "
    "user, with no capability, no network and a bounded number of processes; when the job ends nothing of it is left "
    "on the node.",
    "This is the one program for operators, users and units. `prolog`, `task-prolog` and `epilog` are Slurm's hooks; "
    "`check`, `report`, `explain` and `config` are for people.",
)
DONE = "0 as a rule; 1 where it could not be done, with one line that says why; 2: the command line was wrong."
# Verb → what its page says beside the command line, and the exit status.
MORE: dict[str, tuple[str, str]] = {
    "prolog": (
        "slurmd runs it as root before the job's first process, by `/etc/slurm/prolog.d/50-slurm-hooks`. Where "
        "anything of slurm-hooks is broken the job gets no record, so no container starts in it; the job itself runs.",
        "0, always: a Prolog that fails would drain the node.",
    ),
    "task-prolog": (
        "slurmstepd runs it as the job's user, by `/etc/slurm/task_prolog.sh`, and reads what it prints: where the "
        "job's Docker is, and once a job a line about it.",
        "0, always: a task shall not fail by it.",
    ),
    "epilog": (
        "slurmd runs it as root after the job's last process, by `/etc/slurm/epilog.d/50-slurm-hooks`. What the job "
        "left is ended, and the node is looked at afresh. By hand it does the same again for a job that holds the "
        "node.",
        "0: nothing of the job is left. 1: something is, and the node is drained with a reason that names it.",
    ),
    "sweep": (
        "`slurm-hooks-sweep.timer` runs it. A job is over where its record, the kernel and slurmctld say so; where "
        "slurmctld does not answer nothing is touched.",
        "0: nothing is left. 1: something is, or slurmctld did not answer.",
    ),
    "networks": (
        "`slurm-hooks-networks.timer` runs it, where the site offers a restricted network. "
        "`/run/slurm-hooks/networks.json` says what stands; the broker lets nobody join a network whose rules are not "
        "known to stand.",
        "0: the rules stand. 1: they do not.",
    ),
    "broker": (
        "`slurm-hooks-broker.service` runs it. `systemctl reload slurm-hooks-broker` puts a new one in its place: the "
        "old one serves its open streams to their end.",
        "0 after SIGTERM, or when the last stream of one that was replaced has ended.",
    ),
    "report": (
        "On the node that ran the job. It has what the event log still has: today's and the last rotated file.",
        "0; 1 where nothing is known of the job, or with `--node` where a job holds the node.",
    ),
    "metrics": ("`slurm-hooks-metrics.timer` runs it each minute, once it is enabled.", DONE),
    "check": (
        "Nothing is changed. `wrong`: a promise does not hold, or no container starts. `weak`: a promise holds with "
        "one wall fewer. `note`: to know, and not to mend in a hurry. A finding's name stays from release to release.",
        "0; 1 where a finding is wrong, with `--strict` where one is weak; 2: the command line was wrong.",
    ),
    "install": (
        "One table says what is needed: what `check` finds there is what this writes. A file of before stays beside, "
        "with the date; what takes a person's word is told and not written.",
        "0: nothing lacks, or all of it was written. 1: something lacks, or is for a person to decide.",
    ),
    "policy": ("Every endpoint and every field of Docker's API, by the site's configuration.", DONE),
    "explain": (
        "On a node or a login node, by anybody and without a job: flags that would be refused, and what to do instead.",
        "0; 1 where the command would be refused, or cannot be read.",
    ),
    "config": (
        "Without a file, also what the hooks read is made anew. slurm-hooks.toml(5) has each setting.",
        "0; 1 where the file is broken, with one line that names the key.",
    ),
}
FILES = (
    ("/etc/slurm-hooks/slurm-hooks.toml", "what the site allows: slurm-hooks.toml(5)"),
    ("/etc/slurm/slurm-hooks.conf", "what slurm.conf includes: the hooks"),
    ("/etc/docker/slurm-jobs.json", "the jobs' dockerd"),
    ("/run/slurm-hooks/", "sockets, and a record for each run of a job"),
    ("/var/log/slurm-hooks/events.jsonl", "what happened, a JSON line each"),
    ("/usr/share/doc/slurm-hooks/", "install.md, operators.md, users.md and more"),
)


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Each verb's own parser, in the order of the help."""
    (choices,) = (a.choices for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(choices)


def pages() -> dict[str, str]:
    """File name → page."""
    return {"slurm-hooks.1": _top()} | {f"slurm-hooks-{name}.1": _page(name, verb) for name, verb in verbs().items()}


def _top() -> str:
    told = [(f"{bold(f'slurm-hooks-{name}')}(1)", marked(verb.description or "")) for name, verb in verbs().items()]
    return page(
        "slurm-hooks", 1, "Docker for Slurm jobs, without giving anyone Docker",
        section("SYNOPSIS", f"{bold('slurm-hooks')} {slanted('VERB')} [{slanted('ARGUMENT')} ...]",
                f"{bold('slurm-hooks --version')}"),
        section(
            "DESCRIPTION",
            *map(marked, ABOUT),
        ),
        section("VERBS", items(told)),
        section("EXIT STATUS", plain(DONE)),
        section("FILES", items((bold(path), plain(text)) for path, text in FILES)),
        _see_also(),
    )  # fmt: skip


def _page(name: str, verb: argparse.ArgumentParser) -> str:
    more, status = MORE.get(name, ("", DONE))
    options = list(_options(verb))
    examples = (verb.epilog or "").removeprefix("Example: ").split(", ")
    return page(
        f"slurm-hooks-{name}", 1, _what(verb),
        section("SYNOPSIS", f"{bold(verb.prog)} {' '.join(_synopsis(verb))}".rstrip()),
        section("DESCRIPTION", marked(verb.description or ""), *([marked(more)] if more else [])),
        section("OPTIONS", items(options)) if options else "",
        section("EXIT STATUS", marked(status)),
        section("EXAMPLES", example(*examples)),
        _see_also(),
    )  # fmt: skip


def _what(verb: argparse.ArgumentParser) -> str:
    """The first sentence, as a line of whatis(1) has it."""
    first = (verb.description or "").partition(". ")[0].partition("? ")[0].rstrip(".")
    return first.removeprefix("Slurm's ")


def _arguments(verb: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in verb._actions if not isinstance(action, argparse._HelpAction))


def _synopsis(verb: argparse.ArgumentParser) -> Iterator[str]:
    told: set[str] = set()
    for action in _arguments(verb):
        if action.dest in told:
            continue
        one_of = next((g for g in verb._mutually_exclusive_groups if action in g._group_actions), None)
        together = one_of._group_actions if one_of else [action]
        told |= {each.dest for each in together}
        word = " | ".join(_form(each) for each in together)
        needed = one_of.required if one_of else action.required
        yield word if needed and not one_of else f"{{{word}}}" if needed else f"[{word}]"


def _form(action: argparse.Action) -> str:
    """`--output FILE`, `job`, `command ...`."""
    if not action.option_strings:
        return slanted(action.dest.upper()) + (" ..." if action.nargs == argparse.REMAINDER else "")
    return bold(action.option_strings[0]) + _value(action)


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return f" {slanted(str(action.metavar or action.dest.upper()))}"


def _options(verb: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in _arguments(verb):
        names = ", ".join(map(bold, action.option_strings)) + _value(action) if action.option_strings else _form(action)
        yield names, marked((action.help or "a job id").replace("%%", "%"))


def _see_also() -> str:
    others = [f"{bold('slurm-hooks')}(1)", f"{bold('slurm-hooks.toml')}(5)", f"{bold('slurm.conf')}(5)"]
    return section("SEE ALSO", ",\n".join(others))
