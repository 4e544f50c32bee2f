# SPDX-License-Identifier: Apache-2.0
"""slurm.conf as a text: read as Slurm reads it, and changed in one place alone."""

from __future__ import annotations

import pytest

from slurm_hooks.install.conf import Conf, parsed

MAIN = "/etc/slurm/slurm.conf"


def conf(text: str, **included: str) -> Conf:
    return parsed(MAIN, {MAIN: text, **{f"/etc/slurm/{name}.conf": one for name, one in included.items()}}.get)


def said(text: str) -> dict[str, str]:
    return {entry.key: entry.value for entry in conf(text).entries}


# As parse_config.c of Slurm 24.11 has it, line by line.
@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Prolog=/a\nEpilog = /b\n", {"Prolog": "/a", "Epilog": "/b"}),
        ("  prolog=/a # Epilog=/b\n#TaskProlog=/c\n", {"prolog": "/a"}),
        ('TaskPlugin="task/affinity, x" \n', {"TaskPlugin": "task/affinity, x"}),
        ("PrologFlags=X11, \\\n\tContain\n", {"PrologFlags": "X11,"}),
        ("PrologFlags=X11,\\\nContain\n", {"PrologFlags": "X11,Contain"}),
        ("Prolog=\\\n/a\\\n/b\n", {"Prolog": "/a/b"}),
        ("Prolog=/a \\  \nEpilog=/b\n", {"Prolog": "/a"}),  # joined: what follows belongs to the record
        ("# a comment \\\nEpilog=/b\n", {"Epilog": "/b"}),  # cut off before the lines are joined
        ("Prolog=/a \\ # why\nEpilog=/b\n", {"Prolog": "/a"}),
        ("Prolog=/a\\\\\nEpilog=/b\n", {"Prolog": "/a\\", "Epilog": "/b"}),
        ("Prolog=/a\\#b#c\n", {"Prolog": "/a#b"}),
        ("NodeName=a CPUs=4 Prolog=/a\nPrologFlags+=X11", {"NodeName": "a", "PrologFlags": "X11"}),
        ("Prolog=\nEpilog", {}),
        ('Prolog=""\n', {"Prolog": ""}),
        ("Prolog=/a\r\nEpilog=/b\r\n", {"Prolog": "/a", "Epilog": "/b"}),
        ("", {}),
    ],
)
def test_a_text_is_read_as_slurm_reads_it(text: str, keys: dict[str, str]) -> None:
    assert said(text) == keys


def test_what_is_included_stands_where_it_is_included() -> None:
    found = conf("Prolog=/a\ninclude site.conf\nProlog=/c\n", site="Prolog=/b\n")
    assert [entry.value for entry in found.of("prolog")] == ["/a", "/b", "/c"]
    assert found.value("Prolog") == "/c"


def test_an_include_is_one_at_the_first_column_only() -> None:
    assert conf(" Include site.conf\nIncluded=site.conf\n", site="Prolog=/b\n").of("Prolog") == []


def test_an_included_file_may_bear_the_clusters_name() -> None:
    found = conf("ClusterName=Lab\nInclude %c.conf\n", lab="Prolog=/b\n")
    assert (found.value("Prolog"), found.unread) == ("/b", ())


def test_a_file_that_cannot_be_read_is_told_and_one_that_includes_itself_too() -> None:
    assert conf("Include /nowhere\nProlog=/a\n").unread == ("/nowhere",)
    assert conf("Include slurm.conf\nProlog=/a\n").unread == (MAIN,)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\nProlog = /a   # why\nB=2\n", "A=1\nProlog = /new   # why\nB=2\n"),
        ('Prolog="/a b"\n', 'Prolog="/new"\n'),
        ('Prolog=""\n', 'Prolog="/new"\n'),
        ("Prolog=/a\\\n/b # why\n", "Prolog=/new # why\n"),
        ("Prolog=/a\nProlog=/b\n", "Prolog=/a\nProlog=/new\n"),
        ("Prolog=\\#a", "Prolog=/new"),
    ],
)
def test_a_value_is_replaced_where_it_stands(before: str, after: str) -> None:
    found = conf(before)
    changed = found.with_value(found.of("Prolog")[-1], "/new")
    assert changed.texts == {MAIN: after}
    assert changed.value("Prolog") == "/new"


@pytest.mark.parametrize("value", ["/a#b", "/a\\b", "\\#"])
def test_a_value_is_escaped_where_it_must_be(value: str) -> None:
    found = conf("Prolog=/a\n")
    assert found.with_value(found.of("Prolog")[0], value).value("Prolog") == value


def test_a_value_of_an_included_file_is_replaced_there() -> None:
    found = conf("Include site.conf\nA=1\n", site="TaskPlugin=task/affinity\n")
    changed = found.with_value(found.of("TaskPlugin")[0], "task/cgroup")
    assert changed.texts == {MAIN: "Include site.conf\nA=1\n", "/etc/slurm/site.conf": "TaskPlugin=task/cgroup\n"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "B=2\n"),
        ("A=1", "A=1\nB=2\n"),
        ("A=1\n", "A=1\nB=2\n"),
        ("A=1 \\\n", "A=1 \\\n\nB=2\n"),
        ("A=1 \\", "A=1 \\\n\nB=2\n"),
        ("# no more \\", "# no more \\\nB=2\n"),
    ],
)
def test_a_line_at_the_end_is_joined_to_nothing(before: str, after: str) -> None:
    changed = conf(before).with_line("B=2")
    assert changed.texts == {MAIN: after}
    assert changed.value("B") == "2"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\nC=3\n", "A=1\nB=2\nC=3\n"),
        ("A=1 \\\n  X=4\nC=3\n", "A=1 \\\n  X=4\nB=2\nC=3\n"),
        ("A=1", "A=1\nB=2\n"),
        ("A=1\\", "A=1\\\n\nB=2\n"),
    ],
)
def test_a_line_comes_behind_another_and_what_continues_it(before: str, after: str) -> None:
    found = conf(before)
    assert found.with_line_after(found.of("A")[0], "B=2").texts == {MAIN: after}
