# SPDX-License-Identifier: Apache-2.0
"""Ways onto the node, or to stay on it, that pass Slurm by: ssh, user managers, cron, at. Pure.

Sources: pam_slurm_adopt's page at slurm.schedmd.com; crontab(1), at(1); loginctl(1).
"""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Node
from slurm_hooks.needs import Asked, line_for, shown

BESIDE = "what runs there is in no job's cgroup: no limit holds it, and it stays when the job ends"
ADOPT = "pam_slurm_adopt.so"
CLOSED = {"action_adopt_failure": "deny", "action_generic_failure": "deny"}  # both are open unless they are named
OPEN = {"action_no_jobs": ("ignore", "allow"), "action_unknown": ("allow",)}  # both are closed unless they are named
LINE = f"account required {ADOPT} action_adopt_failure=deny action_generic_failure=deny"


def check(node: Node) -> Iterable[Finding]:
    """Who may run what beside the jobs."""
    if node.lingering:
        yield Finding(
            "linger", "weak", "access", f"systemd keeps the managers of {', '.join(node.lingering)}", BESIDE,
            f"Run: loginctl disable-linger {node.lingering[0]} (and so for each).",
        )  # fmt: skip
    if node.managers:
        yield Finding(
            "user-manager", "weak", "access", f"systemd runs a manager for uid {', '.join(node.managers)}",
            f"by systemd-run --user {BESIDE}", f"Run: systemctl mask --now user@{node.managers[0]}.service.",
        )  # fmt: skip
    if {"cron", "crond"} & node.running and "/etc/cron.allow" not in node.files:
        yield Finding(
            "cron", "weak", "access", "cron runs, and every user may have a crontab", BESIDE,
            "Run: touch /etc/cron.allow (then root alone may).",
        )  # fmt: skip
    if "atd" in node.running and "/etc/at.allow" not in node.files and "/etc/at.deny" in node.files:
        yield Finding(
            "at", "weak", "access", "atd runs, and every user may use at", BESIDE,
            "Run: touch /etc/at.allow (then root alone may).",
        )  # fmt: skip
    if "sshd" in node.running:
        yield from _ssh(node)


def adopts(node: Node) -> bool:
    """Does sshd ask pam_slurm_adopt?"""
    return "sshd" in node.running and node.sshd_asks_pam and bool(_adopting(node))


def _adopting(node: Node) -> list[list[str]]:
    fields = [line.split() for line in node.pam]
    return [words for words in fields if words[0].lstrip("-") == "account" and _module(words) == ADOPT]


def _ssh(node: Node) -> Iterable[Finding]:
    adopting = _adopting(node)
    if not adopting or not node.sshd_asks_pam:
        yield Finding(
            "adopt-missing", "weak", "access", f"sshd runs without {ADOPT}", f"who logs in by ssh: {BESIDE}",
            f"At the end of account in /etc/pam.d/sshd: {LINE}; in sshd_config: UsePAM yes.",
        )  # fmt: skip
    elif why := next(filter(None, map(_fails_open, adopting)), ""):
        yield Finding(
            "adopt-open", "weak", "access", f"{ADOPT} lets people in where it fails: {why}",
            f"who logs in then: {BESIDE}", f"In /etc/pam.d/sshd: {LINE}.",
        )  # fmt: skip
    elif mend := line_for("adopt-contain", shown(node.slurm), Asked(adopts=True)):
        yield Finding(
            "adopt-contain", "weak", "access", f"{ADOPT} is there, and PrologFlags is without Contain",
            "it finds no extern step to adopt into, so it lets nobody in",
            mend,
        )  # fmt: skip
    if any(_module(line.split()) == "pam_systemd.so" for line in node.pam):
        yield Finding(
            "pam-systemd", "weak", "access", "pam_systemd.so is in sshd's PAM stack",
            "it moves who logs in out of the job that they were adopted into, and starts a user manager",
            "Run: pam-auth-update --disable systemd; elsewhere, comment it out in what /etc/pam.d/sshd includes.",
        )  # fmt: skip


def _control(words: list[str]) -> tuple[str, int]:
    """(the control of a line of pam.d(5), where the module's name stands): `[success=1 default=ignore]` is one."""
    if len(words) > 1 and words[1].startswith("["):
        end = next((at for at, word in enumerate(words) if word.endswith("]")), 1)
        return " ".join(words[1 : end + 1]), end + 1
    return words[1] if len(words) > 1 else "", 2


def _module(words: list[str]) -> str:
    at = _control(words)[1]
    return words[at].rpartition("/")[2] if len(words) > at else ""


def _fails_open(words: list[str]) -> str:
    """How the module lets people in where it cannot do its work, "" where it does not."""
    control, at = _control(words)
    if words[0].startswith("-"):
        return "the hyphen before account passes over a module that is missing"
    if control == "optional" or (control.startswith("[") and "default=ignore" in control):
        return f"its control is {control}"
    options = dict(word.partition("=")[::2] for word in words[at + 1 :])
    for name, wanted in CLOSED.items():
        if options.get(name) != wanted:
            return f"{name} is not {wanted}"
    return next((f"{name}={options[name]}" for name, bad in OPEN.items() if options.get(name) in bad), "")
