# SPDX-License-Identifier: Apache-2.0
"""The errors of slurm-hooks: raised deep, turned into words in one place.

Each says three things, and prints as one line: what went wrong, why, and what
to do. Hooks print `str(error)`; the broker sends it as Docker's error message.
"""

from __future__ import annotations


def one_line(text: str) -> str:
    """A text, perhaps a user's, that cannot forge a second line in a log, nor steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def unforeseen(error: BaseException) -> str:
    """An error that nobody has turned into words, in one line: its type, and what it says."""
    return one_line(f"{type(error).__name__}: {error}")


class HooksError(Exception):
    """Anything that we can explain. `str()` is the one line that a person sees."""

    http_status = 500

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        super().__init__(what, why, todo)
        self.what, self.why, self.todo = what, why, todo

    def __str__(self) -> str:
        line = f"{self.what}: {self.why}" if self.why else self.what
        if self.todo:
            line = f"{line.rstrip('.')}. {self.todo}"
        return one_line(line)


class BadEnvironment(HooksError):
    """What Slurm handed to a hook is missing or is not what it should be."""


class BadConfig(HooksError):
    """The site's configuration file cannot be used. Containers stay off; jobs go on."""

    http_status = 503


class NodeFault(HooksError):
    """The node is not as it must be: a cgroup, the run directory or dockerd."""

    http_status = 503


class BadRequest(HooksError):
    """The bytes on the socket are not a request that a Docker client makes."""

    http_status = 400


class Refused(HooksError):
    """The request is understood, and the policy says no."""

    http_status = 403
    by = ""  # who says so: a knob, or the word of routes.ROUTES for the request; "": it is no request of ours at all


class refused_by:
    """`with refused_by("mounts"):` names who said no, unless that was named further in."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, Refused) and not error.by:
            error.by = self.name


def with_help(error: HooksError, site_help: str) -> str:
    """The line of an error; a refusal's ends with the site's own sentence, where it has one."""
    if not site_help or not isinstance(error, Refused):
        return str(error)
    return f"{str(error).rstrip('.')}. {one_line(site_help)}"


class NotFound(HooksError):
    """No such container, exec or image: the words are moby's, and alike for "not yours"."""

    http_status = 404


class Conflict(HooksError):
    """Not now: the job is ending, or a name is taken."""

    http_status = 409
