# SPDX-License-Identifier: Apache-2.0
"""`slurm-hooks policy`: what becomes of every request, from the tables that decide it. docs/policy.md is its output."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from slurm_hooks import knobs
from slurm_hooks.broker import routes
from slurm_hooks.errors import HooksError
from slurm_hooks.knobs import execs
from slurm_hooks.knobs.contract import Row
from slurm_hooks.knobs.flags import FLAGS, flag
from slurm_hooks.knobs.syscalls import ABSENT, CLOSED, OPEN, in_part
from slurm_hooks.settings import Settings

# What a handler of routes.ROUTES does with a request; one that is not named here serves it as it comes.
HANDLERS = {
    "create": ("decided", "by the fields below; a new request is written"),
    "exec-create": ("decided", "by the fields below; a new request is written"),
    "exec-start": ("own", "an exec of the job's own"),
    "exec-own": ("own", "an exec of the job's own"),
    "start": ("own", "answered after the kernel was asked"),
    "list": ("own", "those of the job"),
    "info": ("own", "written anew: nothing about other jobs"),
    "images": ("allow", "those that the site lets jobs run"),
    "image": ("allow", "one that the site lets jobs run"),
    "pull": ("decided", "from the site's registries, of its repositories, in turns, within a size"),
    "distribution": ("allow", "from the site's registries"),
    "login": ("decided", "at the site's registries only"),
    "absent": ("none", "answered with 404: there is none"),
    "events": ("own", "those of the job's containers"),
    "prune": ("own", "stopped containers of the job's own"),
    "networks": ("own", "written anew: `none`, and what the site offers"),
    "network": ("own", "written anew: `none`, and what the site offers"),
    "volumes": ("own", "written anew: there is none"),
    "usage": ("own", "of the job"),
    "join": ("own", "of the job"),
    "account": ("own", "of the job"),
    **dict.fromkeys(
        ("inspect", "own", "attach", "remove", "stats", "pause", "restart", "rename"),
        ("own", "a container of the job's own"),
    ),
}
DEFAULT = ("allow", "served as it comes")
UNKNOWN = "a key that Docker's API does not have, or has in another case, is refused"
CALLS = """What a container's processes may ask of the kernel: the filter that each create brings, `slurm-hooks`.

- open: it reaches the kernel. in part: it does so with the arguments that the reason tells; with others it is EPERM.
- ENOSYS: as a kernel answers that is too old for it, so that a libc or a tool takes its older way.
- EPERM: as the kernel answers those who may not."""
OTHER_CALLS = "Calls that are newer than these are ENOSYS. Those of 32-bit and x32 programs end the process (SIGSYS)."
SETTING = re.compile(r"\{([a-z_]+)\.([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A line of the endpoint table."""

    method: str
    path: str
    action: str  # allow, own, decided, none
    client: str
    words: str
    query: dict[str, str]  # parameter → expression of what it may be


@dataclass(frozen=True, slots=True)
class Closed:
    """Endpoints that are refused with words of their own."""

    requests: str  # an expression: METHOD path
    client: str
    reason: str
    instead: str


@dataclass(frozen=True, slots=True)
class Field:
    """A line of the field table, with the site's settings filled in."""

    field: str
    flag: str
    action: str
    value: str
    knob: str
    reason: str
    instead: str


def endpoints() -> list[Endpoint]:
    """Every endpoint that is served."""
    return [
        Endpoint(r.method, r.template, *_action(r.handler, r.client), dict(sorted(r.query.items())))
        for r in routes.ROUTES
    ]


def _action(handler: str, client: str) -> tuple[str, str, str]:
    action, words = HANDLERS.get(handler, DEFAULT)
    return action, client, words


def closed() -> list[Closed]:
    """The endpoints that are refused with words of their own; all others are refused too."""
    return [Closed(pattern.pattern, what, why, todo) for pattern, what, why, todo in routes.REFUSALS]


def fields(site: Settings) -> list[Field]:
    """Every field of create and exec, by knob."""
    found = [_field(name, row, site) for name in knobs.KNOBS for row in knobs.rows(name)]
    return found + [_field("execs", row, site) for row in execs.ROWS]


def _field(knob: str, row: Row, site: Settings) -> Field:
    action, value, reason = str(row.action), row.value, row.reason
    if row.switch and not _setting(site, row.switch):
        action, value, reason = "allow", "", f"the site has set {row.switch} = false"
    todo = row.todo if action == "deny" else ""
    return Field(
        row.unit, _flag_of(row.unit), action, filled(value, site), knob, filled(reason, site), filled(todo, site)
    )


@dataclass(frozen=True, slots=True)
class Syscalls:
    """A line of the list of system calls."""

    answer: str  # open, in part, ENOSYS, EPERM, EAFNOSUPPORT
    group: str
    calls: tuple[str, ...]
    reason: str


def syscalls(site: Settings) -> list[Syscalls]:
    """What becomes of each system call in a container (knobs/syscalls.py)."""
    lists = (("open", OPEN), ("ENOSYS", ABSENT), ("EPERM", CLOSED))
    found = [Syscalls(answer, group.name, group.calls, group.reason) for answer, groups in lists for group in groups]
    parts = in_part(site.mounts.sockets)
    some = [Syscalls("in part", part.call, (part.call,), part.reason) for part in parts]
    if site.mounts.sockets == "refuse":
        some.append(Syscalls("EAFNOSUPPORT", "Unix sockets", ("socket",), 'the site has set mounts.sockets = "refuse"'))
    found[len(OPEN) : len(OPEN)] = some
    return found


def _flag_of(unit: str) -> str:
    name = unit.partition(":")[0]
    return flag(unit) if unit in FLAGS or name == "HostConfig.SecurityOpt" else ""


def filled(text: str, site: Settings) -> str:
    """`{container.pids}` becomes what the site has set."""
    return SETTING.sub(lambda match: str(_setting(site, f"{match[1]}.{match[2]}")), text)


def _setting(site: Settings, path: str) -> Any:
    value: Any = site
    for name in path.split("."):
        value = getattr(value, name)
    return value


def main(site: Settings, partition: str, *, as_json: bool, as_markdown: bool) -> int:
    """Print it. Raises HooksError where there is no such partition."""
    if partition:
        if partition not in site.partition:
            raise HooksError(
                f"partition {partition}", "the configuration has no words of its own for it", "See slurm-hooks config."
            )
        site = site.of_partition(partition)
    print(as_data(site) if as_json else markdown(site) if as_markdown else text(site), end="")
    return 0


def as_data(site: Settings) -> str:
    """For programs."""
    data = {
        "endpoints": [asdict(line) for line in endpoints()],
        "refused": [asdict(line) for line in closed()],
        "fields": [asdict(line) for line in fields(site)],
        "syscalls": [asdict(line) for line in syscalls(site)],
        "otherwise": {"endpoints": "refused", "query": "refused", "fields": UNKNOWN},
    }
    return json.dumps(data, indent=2) + "\n"


# -- for people ------------------------------------------------------------------------------------


def text(site: Settings) -> str:
    """As a terminal shows it."""
    lines = ["ENDPOINTS", *(f"  {e.action:<8}{e.method:<7}{e.path:<34}{e.client}; {e.words}" for e in endpoints())]
    lines += [f"  refused {c.client:<32}  {c.reason}. {c.instead}" for c in closed()]
    lines += ["  refused everything else, and every query parameter that says something and is not named", ""]
    knob = ""
    for field in fields(site):
        if field.knob != knob:
            knob = field.knob
            lines += [f"{knob.upper()}  {_title(knob)}"]
        value = f"{_short(field.value)}  " if field.value else ""
        instead = f". {field.instead}" if field.instead else ""
        lines.append(f"  {field.action:<8}{field.field:<42} {value}{field.reason}{instead}")
    lines += ["", f"  refused {UNKNOWN}", "", "SYSTEM CALLS"]
    lines += [f"  {s.answer:<13}{s.group:<34}{_short(' '.join(s.calls))}; {s.reason}" for s in syscalls(site)]
    return "\n".join([*lines, f"  {OTHER_CALLS}", ""])


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:59]}…"


def _title(knob: str) -> str:
    module = execs if knob == "execs" else knobs.KNOBS[knob]
    return (module.__doc__ or "").partition("\n")[0]


HEAD = """# The policy

<!-- Made by: slurm-hooks policy --markdown --defaults > docs/policy.md; a test keeps them equal. -->

What becomes of every request of a Docker client in a job. `slurm-hooks policy` prints it on a node, with what its site
has set; `slurm-hooks explain 'docker run …'` says what it means for one command.

- allow: passes, once its form is found good. own: about what belongs to the asking job, nothing else.
- force: it is the value, whatever was asked; another wish is refused where silence would mislead.
- cap: passes within the value, is refused above. drop: taken, and not passed on, as here it changes nothing.
- deny: refused, in one line with the flag, the reason, and what to do instead.

## Endpoints
"""


def markdown(site: Settings) -> str:
    """As docs/policy.md has it."""
    lines = [HEAD, *_table("action", "request", "client", "what is done", "query parameters")]
    for e in endpoints():
        query = ", ".join(f"`{name}`" for name in e.query)
        lines.append(_line(e.action, f"`{e.method} {e.path}`", e.client, e.words, query))
    lines += ["", "Refused with words of their own:", "", *_table("request", "client", "reason", "instead")]
    lines += [_line(f"`{c.requests}`", c.client, c.reason, c.instead) for c in closed()]
    lines += [
        "",
        "Every other request is refused, and so is a query parameter that says something and is not named above.",
        "",
        "## Fields",
        "",
        f"`<uid>`, `<gid>`, `<groups>` and `<cgroup>` are the job's. {UNKNOWN[0].upper()}{UNKNOWN[1:]}.",
    ]
    knob = ""
    for field in fields(site):
        if field.knob != knob:
            knob = field.knob
            lines += ["", f"### {knob}", "", _title(knob), "", *_table("action", "field", "flag", "value", "reason")]
        reason = f"{field.reason}. {field.instead}" if field.instead else field.reason
        flag_, value = (f"`{part}`" if part else "" for part in (field.flag, field.value))
        lines.append(_line(field.action, f"`{field.field}`", flag_, value, reason))
    lines += ["", "## System calls", "", CALLS, "", *_table("answer", "group", "calls", "reason")]
    lines += [_line(s.answer, s.group, f"`{' '.join(s.calls)}`", s.reason) for s in syscalls(site)]
    return "\n".join([*lines, "", OTHER_CALLS, ""])


def _table(*titles: str) -> tuple[str, str]:
    return _line(*titles), _line(*("---" for _ in titles))


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
