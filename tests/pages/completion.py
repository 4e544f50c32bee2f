# SPDX-License-Identifier: Apache-2.0
"""Bash completion, from the tree of the command line: a file that starts no Python while a person types."""

from __future__ import annotations

import argparse

from tests.pages.verbs import verbs

# What a verb's argument is: words of bash that print what there is. A job's record is named by its id first.
LISTED = r"cd /run/slurm-hooks 2>/dev/null && printf '%s\n' jobs/* gone/* | sed -n 's,.*/\([0-9]*\)-.*,\1,p'"
JOBS = f'compgen -W "$({LISTED})"'
ARGUMENTS = {"epilog": JOBS, "report": JOBS, "config": "compgen -f"}
VALUES = {"--output": "compgen -f"}  # an option whose value can be completed


def script() -> str:
    """The file, whole."""
    every = verbs()
    valued = sorted(name for verb in every.values() for name in _options(verb) if _takes_a_value(verb, name))
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# shellcheck shell=bash",
        "# Made by `make pages`.",
        "_slurm_hooks() {",
        "    local word=${COMP_WORDS[COMP_CWORD]} options=''",
        "    COMPREPLY=()",
        "    if [ \"$COMP_CWORD\" = 1 ]; then",
        f"        mapfile -t COMPREPLY < <(compgen -W '{' '.join(every)} --help --version' -- \"$word\")",
        "        return",
        "    fi",
        "    case ${COMP_WORDS[COMP_CWORD - 1]} in",
        *(f"        {name}) mapfile -t COMPREPLY < <({VALUES[name]} -- \"$word\") && return ;;" for name in VALUES),
        f"        {'|'.join(dict.fromkeys(name for name in valued if name not in VALUES))}) return ;;",
        "    esac",
        "    case ${COMP_WORDS[1]} in",
        *(f"        {name}) options='{' '.join(_options(verb))}' ;;" for name, verb in every.items()),
        "    esac",
        "    case ${COMP_WORDS[1]}:$word in",
        "        *:-*) mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\") ;;",
        *(f"        {name}:*) mapfile -t COMPREPLY < <({what} -- \"$word\") ;;" for name, what in ARGUMENTS.items()),
        "    esac",
        "}",
        "complete -F _slurm_hooks slurm-hooks",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _options(verb: argparse.ArgumentParser) -> list[str]:
    return [name for action in verb._actions for name in action.option_strings if name.startswith("--")]


def _takes_a_value(verb: argparse.ArgumentParser, name: str) -> bool:
    return verb._option_string_actions[name].nargs != 0
