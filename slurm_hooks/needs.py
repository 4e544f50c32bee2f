# SPDX-License-Identifier: Apache-2.0
"""What Slurm's and dockerd's files have to say, once: `check` finds what lacks, `install` writes it. Pure.

A row bears the name of its finding. It makes of a value the one that is needed, and leaves one that will do: so what is
written holds when it is looked at again. Sources: Slurm 22.05 to 26.05, read_config.c (S_P_STRING, S_P_ARRAY,
prolog_str2flags, TaskPlugin), cgroup.c (defaults), prep_script_slurmd.c (patterns); dockerd's daemon.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

Options = Mapping[str, Any]  # of dockerd's file, by their names there

# hook → its finding, and the script of ours. Not a pattern: whatever else lies there is not for us to start.
HOOKS = {
    "Prolog": ("hook-prolog", "/etc/slurm/prolog.d/50-slurm-hooks"),
    "Epilog": ("hook-epilog", "/etc/slurm/epilog.d/50-slurm-hooks"),
    "TaskProlog": ("hook-task-prolog", "/etc/slurm/task_prolog.sh"),
    "TaskEpilog": ("hook-task-epilog", "/etc/slurm/task_epilog.sh"),
}
SEVERAL = ("Prolog", "Epilog")  # each line of its own, one after the other, from MANY on; the last one alone before
MANY = (24, 5)
EPILOG_BOUND = 113  # its bound without the site's grace: docs/operators.md, "The end of a job"
UNLIMITED = 65_534  # NO_VAL16 of slurm.h, as scontrol prints a timeout that is not set

RECONFIGURE = "run: scontrol reconfigure"
RESTART = "restart slurmctld and each slurmd"
RESTART_SLURMD = "restart each slurmd"


class Asked(NamedTuple):
    """What of the node and the site a need depends on."""

    cpuset: bool = True  # has the kernel the controller?
    adopts: bool = False  # does sshd adopt by pam_slurm_adopt?
    grace: int = 0  # seconds of container.grace_seconds
    selinux: bool = False  # has the kernel a policy?
    shared: bool = False  # is the dockerd the site's own, with containers that are no job's?


# -- Slurm -----------------------------------------------------------------------------------------

Mended = Callable[[str, Asked, Mapping[str, str]], str | None]  # None: no value will do without a person's word


class Slurm(NamedTuple):
    """A key of slurm.conf or cgroup.conf."""

    file: str
    key: str
    silent: str  # what holds where the file does not name it
    mended: Mended  # (value, what is asked, the other keys) → the value that is needed
    then: str

    def line(self, value: str, asked: Asked, others: Mapping[str, str]) -> str:
        """The line that is needed, "" where the value will do."""
        wanted = self.mended(value, asked, others)
        return "" if wanted == value else f"{self.key}={wanted or '(as the site decides)'}"


def _words(value: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", value) if word]


def _proctrack(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return value if value == "proctrack/cgroup" else "proctrack/cgroup"


def _task_plugin(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    """From 23.11 on one `none` in the list turns all of it off. The prefix may be left out."""
    if "none" not in value.lower() and {"task/cgroup", "cgroup"} & set(_words(value)):
        return value
    kept = [word for word in _words(value) if "none" not in word.lower()]
    return ",".join([*kept, *(() if "task/cgroup" in kept else ("task/cgroup",))])


ALLOC = {"alloc", "contain", "x11", "runinjob", "forcerequeueonfail", "nohold"}  # each implies Alloc
CONTAIN = {"contain", "x11", "runinjob"}
# slurmstepd takes the user's ids to end X11 forwarding, in each job, while another thread starts the Epilog, which gets
# them (mgr.c, _x11_signal_handler; seen on 24.11.5). From 26.05 on a child of its own takes them.
MIXED_UP = ((24, 11), (26, 5))


def _prolog_flags(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    flags = _words(value)
    return value if ALLOC & {flag.lower() for flag in flags} else ",".join([*flags, "Contain"])


def _contain(value: str, asked: Asked, others: Mapping[str, str]) -> str | None:
    flags = _words(value)
    said = {flag.lower() for flag in flags}
    if not asked.adopts or CONTAIN & said:
        return value
    return None if "nohold" in said else ",".join([*flags, "Contain"])  # both: no daemon of Slurm starts


def _root(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return value if value in ("root", "0") else "root"


def _timeout(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    seconds = int((re.match(r"\d{1,9}", value) or ["0"])[0])
    bound = EPILOG_BOUND + asked.grace
    return str(bound) if 0 < seconds < bound and seconds != UNLIMITED else value


def _timeout_of_both(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return value if others.get("EpilogTimeout") else _timeout(value, asked, others)


def _plugin(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return "autodetect" if value.startswith("disabled") else value


def _yes(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return value if value.lower() in ("yes", "up", "true", "1") else "yes"  # parse_value.c


def _yes_where_cpuset(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return _yes(value, asked, others) if asked.cpuset else value


def _yes_where_gres(value: str, asked: Asked, others: Mapping[str, str]) -> str:
    return _yes(value, asked, others) if others.get("GresTypes") else value


SLURM: dict[str, list[Slurm]] = {
    "proctrack": [Slurm("slurm.conf", "ProctrackType", "proctrack/cgroup", _proctrack, RESTART)],
    "task-plugin": [Slurm("slurm.conf", "TaskPlugin", "", _task_plugin, RESTART)],
    "prolog-flags": [Slurm("slurm.conf", "PrologFlags", "", _prolog_flags, RECONFIGURE)],
    "adopt-contain": [Slurm("slurm.conf", "PrologFlags", "", _contain, RECONFIGURE)],
    "slurmd-user": [Slurm("slurm.conf", "SlurmdUser", "root", _root, RESTART)],
    "epilog-timeout": [
        Slurm("slurm.conf", "EpilogTimeout", "", _timeout, RECONFIGURE),  # from 25.05 on
        Slurm("slurm.conf", "PrologEpilogTimeout", "", _timeout_of_both, RECONFIGURE),
    ],
    "cgroup-plugin": [Slurm("cgroup.conf", "CgroupPlugin", "autodetect", _plugin, RESTART_SLURMD)],
    "constrain-ram": [Slurm("cgroup.conf", "ConstrainRAMSpace", "no", _yes, RESTART_SLURMD)],
    "constrain-cores": [Slurm("cgroup.conf", "ConstrainCores", "no", _yes_where_cpuset, RESTART_SLURMD)],
    "constrain-devices": [Slurm("cgroup.conf", "ConstrainDevices", "no", _yes_where_gres, RESTART_SLURMD)],
}  # fmt: skip


def shown(said: Mapping[str, str]) -> dict[str, str]:
    """`scontrol show config` with values as the files have them: nothing for (null), `root` for root(0)."""
    return {key: "" if value == "(null)" else re.sub(r"\(\d+\)$| sec$", "", value) for key, value in said.items()}


def line_for(name: str, said: Mapping[str, str], asked: Asked) -> str:
    """How to mend a finding, "" where it is none: said is what `shown` made of scontrol's, and lacks are not judged."""
    for need in SLURM[name]:
        if need.key in said and (line := need.line(said[need.key], asked, said)):
            return f"In {need.file}: {line}; then {need.then}."
    return ""


def release_of(text: str) -> tuple[int, int] | None:
    """24.11.5, or `slurm-wlm 24.11.5` → (24, 11); None: it names none."""
    match = re.search(r"(?:^|[ \t])(\d{1,4})\.(\d{1,4})(?:$|\W)", text.strip())
    return (int(match[1]), int(match[2])) if match else None


def epilog_may_be_the_users(said: Mapping[str, str]) -> bool:
    """Does this Slurm run an Epilog as the job's user now and then? By what `shown` made of scontrol's."""
    release = release_of(said.get("SLURM_VERSION", ""))
    in_job = "runinjob" in map(str.lower, _words(said.get("PrologFlags", "")))
    return in_job and release is not None and MIXED_UP[0] <= release < MIXED_UP[1]


def beside(hook: str, value: str, slurm_conf: str, release: tuple[int, int] | None) -> str:
    """How a hook of the site's and ours are both run, "" where a line of ours behind the site's is all.

    Args:
        value: of the site's line that holds.
        slurm_conf: its path; a hook without a slash lies beside it (23.11 on).
        release: of Slurm; None: not known.
    """
    ours = HOOKS[hook][1]
    said = f"{hook}={value} is the site's own"
    value = value if value.startswith("/") else f"{slurm_conf.rpartition('/')[0]}/{value}"
    if hook not in SEVERAL:
        return f"{said}, and Slurm runs one {hook}. Put into {value}, as its last line: {ours}  # slurm-hooks"
    if release is None:
        return (
            f"{said}. From Slurm 24.05 on ours has a line beside it, before there is one line alone; and scontrol -V "
            "does not say which it is. Run: slurm-hooks install --slurm-release 24.11, or what it is"
        )
    if release >= MANY:
        return ""
    directory, _, name = value.rpartition("/")
    if "*" in name:
        link = f"{directory}/{name.replace('*', '50-slurm-hooks', 1).replace('*', '')}"
        return f"{said}, and Slurm before 24.05 has one {hook} line. On each node: ln -s {ours} {link}"
    place = ours.rpartition("/")[0]
    return (
        f"{said}, and Slurm before 24.05 has one {hook} line. On each node: ln -s {value} {place}/90-site; "
        f"then in slurm.conf: {hook}={place}/*"
    )


def covers(pattern: str, path: str) -> bool:
    """Is a path one that a pattern of slurm.conf means? As glob(3): * passes no slash."""
    parts, wanted = pattern.split("/"), path.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, wanted, parts))


def hook_line(hook: str, said: Mapping[str, str]) -> str:
    """How to mend a hook that is missing, by what `shown` made of scontrol's."""
    own = [value for key, value in said.items() if key.partition("[")[0] == hook and value]
    if any(covers(value, HOOKS[hook][1]) for value in own):
        return f"{HOOKS[hook][1]} is not there, or not executable: run make install, or bring the package's anew."
    release = release_of(said.get("SLURM_VERSION", ""))
    words = beside(hook, own[-1], said.get("SLURM_CONF", ""), release) if own else ""
    return f"{words or f'In slurm.conf: {hook}={HOOKS[hook][1]}; then {RECONFIGURE}'}."


# -- dockerd ---------------------------------------------------------------------------------------

Edit = Callable[[Options, Asked], Options | None]  # None: not without a person's word


class Dockerd(NamedTuple):
    """What dockerd's file has to say of one thing."""

    words: str  # as `check` has them
    edit: Edit  # of the file's options, the needed ones; what will do stays


def _with(**wanted: Any) -> Edit:
    said = {name.replace("_", "-"): value for name, value in wanted.items()}
    return lambda options, asked: {**options, **said}


def _without(**bad: tuple[Any, ...]) -> Edit:
    """Without options that have one of these values."""
    said = {name.replace("_", "-"): values for name, values in bad.items()}
    return lambda options, asked: {k: v for k, v in options.items() if v not in said.get(k, ())}


def _driver(options: Options, asked: Asked) -> Options:
    said = list(options.get("exec-opts") or ())
    drivers = [one for one in said if one.startswith("native.cgroupdriver=")]
    if drivers and set(drivers) == {"native.cgroupdriver=cgroupfs"}:
        return options
    return {**options, "exec-opts": [*(one for one in said if one not in drivers), "native.cgroupdriver=cgroupfs"]}


def _from_client(name: str, value: Any) -> bool:
    """An option or a feature, however it is written: it is a proposal (moby, 2026), and may come as either."""
    return name.lower().replace("_", "-") == "cgroup-parent-from-client" and value not in (False, "false")


def no_parent_from_client(options: Options, asked: Asked | None = None) -> Options:
    """The options without cgroup-parent-from-client, where that is on."""
    kept = {name: value for name, value in options.items() if not _from_client(name, value)}
    if isinstance(features := kept.get("features"), Mapping):
        kept["features"] = {name: value for name, value in features.items() if not _from_client(name, value)}
    return kept


def _store(options: Options, asked: Asked) -> Options | None:
    features = options.get("features") or {}
    driver, containerds = options.get("storage-driver"), features.get("containerd-snapshotter")
    if containerds and driver in (None, "overlay2", "overlayfs"):
        return options
    if driver == "overlay2" and containerds is False:
        return options
    if asked.shared:  # where the file is silent it is dockerd's own choice, and another hides all images
        return options if driver in (None, "overlay2") else None
    return {**options, "storage-driver": "overlay2", "features": {**features, "containerd-snapshotter": False}}


def _log_driver(options: Options, asked: Asked) -> Options:
    if options.get("log-driver", "json-file") in ("json-file", "local", "none"):
        return options
    # With its options: dockerd does not start with one that the driver does not know.
    return {**options, "log-driver": "json-file", "log-opts": {"max-size": "8m", "max-file": "2"}}


def _bridge(options: Options, asked: Asked) -> Options:
    if asked.shared or options.get("bridge") == "none":
        return options
    return {**options, "bridge": "none", "iptables": False, "ip6tables": False, "ip-forward": False}


def _icc(options: Options, asked: Asked) -> Options:
    return options if options.get("bridge") == "none" else {**options, "icc": False}


def _ulimits(options: Options, asked: Asked) -> Options:
    if options.get("default-ulimits"):
        return options
    return {**options, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 16384}}}


def _selinux(options: Options, asked: Asked) -> Options:
    return {**options, "selinux-enabled": True} if asked.selinux else options


def hosts(options: Options) -> list[str]:
    """Where dockerd listens by its file: a list, or one word."""
    said = options.get("hosts") or ()
    return [said] if isinstance(said, str) else list(said)


def _no_tcp(options: Options, asked: Asked) -> Options | None:
    said = hosts(options)
    if not any(host.startswith("tcp:") for host in said) or (asked.shared and options.get("tlsverify")):
        return options
    kept = [host for host in said if not host.startswith("tcp:")]
    return None if asked.shared or not kept else {**options, "hosts": kept}


def _runtime(options: Options, asked: Asked) -> Options:
    return {k: v for k, v in options.items() if k != "default-runtime" or v == "runc"}


ULIMIT = '"default-ulimits": {"nofile": {"Name": "nofile", "Soft": 1024, "Hard": 16384}}'
DOCKERD: dict[str, Dockerd] = {
    "cgroup-driver": Dockerd('"exec-opts": ["native.cgroupdriver=cgroupfs"]', _driver),
    "cgroup-parent-from-client": Dockerd('no "cgroup-parent-from-client" line', no_parent_from_client),
    "storage-driver": Dockerd('"storage-driver": "overlay2", "features": {"containerd-snapshotter": false}', _store),
    "seccomp-unconfined": Dockerd('no "seccomp-profile" line', _without(seccomp_profile=("unconfined",))),
    "selinux": Dockerd('"selinux-enabled": true', _selinux),
    "dockerd-tcp": Dockerd('no tcp:// in "hosts"', _no_tcp),
    "no-new-privileges": Dockerd('"no-new-privileges": true', _with(no_new_privileges=True)),
    "live-restore": Dockerd('"live-restore": true', _with(live_restore=True)),
    "userland-proxy": Dockerd('"userland-proxy": false', _with(userland_proxy=False)),
    "bridge": Dockerd('"bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false', _bridge),
    "icc": Dockerd('"icc": false', _icc),
    "default-ulimits": Dockerd(ULIMIT, _ulimits),
    "default-runtime": Dockerd('no "default-runtime" line', _runtime),
    "log-driver": Dockerd('"log-driver": "json-file", "log-opts": {"max-size": "8m", "max-file": "2"}', _log_driver),
    "dockerd-debug": Dockerd(
        'no "debug" line, and "log-level": "info" or none', _without(debug=(True,), log_level=("debug", "trace"))
    ),
    "dockerd-experimental": Dockerd('no "experimental" line', _without(experimental=(True,))),
}
WRITTEN = {name for name, _ in HOOKS.values()} | set(SLURM) | set(DOCKERD)


def lacks(options: Options, asked: Asked, names: Iterable[str]) -> dict[str, Options | None]:
    """The rows that the options do not have as needed, each with what it would make of them alone. Pure."""
    made = {name: DOCKERD[name].edit(options, asked) for name in names}
    return {name: wanted for name, wanted in made.items() if wanted is None or dict(wanted) != dict(options)}
