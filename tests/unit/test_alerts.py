# SPDX-License-Identifier: Apache-2.0
"""The alert rules, as promtool has it: each fires when it is to, and not on a quiet node; what they name is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slurm_hooks import cli, events
from slurm_hooks.metrics import tally
from tests.unit.policy import ROOT

RULES = ROOT / "etc" / "prometheus" / "slurm-hooks.rules.yml"
TEXT = RULES.read_text()
ALERTS = re.findall(r"^ *- alert: (\w+)$", TEXT, re.MULTILINE)
MINUTES = 120
STALE = 'node_textfile_mtime_seconds{file="/var/lib/prometheus/node-exporter/slurm-hooks.prom"}'

# alert → (series of cn1 with promtool's values, minutes until it fires, minutes when it does not yet).
# Values: `0x59 1x60` is 0 for an hour and then 1.
FIRES: dict[str, tuple[dict[str, str], int, int]] = {
    "SlurmHooksNodeHeld": ({"node_held": "0x59 1x60"}, 71, 65),
    "SlurmHooksEpilogBrokenOff": ({'jobs{state="closing"}': "0x59 1x60"}, 76, 70),
    "SlurmHooksTeardownSlow": (
        {'teardown_seconds_bucket{le="10"}': "0x120", **{f'teardown_seconds_bucket{{le="{le}"}}': "0+1x120" for le in (
            "20", "40", "113", "150", "+Inf")}, "teardown_seconds_count": "0+1x120"}, 80, 5),
    "SlurmHooksDrainFailed": ({'faults_total{event="drain-failed"}': "0x59 1x60"}, 62, 58),
    "SlurmHooksContainerDiffers": ({'differs_total{knob="pids"}': "0x59 1x60"}, 62, 58),
    "SlurmHooksEscape": ({'leftovers_total{kind="escape",became="ended"}': "0x59 1x60"}, 62, 58),
    "SlurmHooksContainersOff": ({'faults_total{event="config-broken"}': "0x59 1x60"}, 62, 58),
    "SlurmHooksBrokerRestarts": ({"broker_starts_total": "1x59 2+1x60"}, 66, 58),
    "SlurmHooksDockerdLost": ({"dockerd_up": "1x59 0x60"}, 63, 61),
    "SlurmHooksRequestsFail": ({"requests_failed_total": "0x59 0+2x60"}, 70, 58),
    "SlurmHooksFault": ({'faults_total{event="record-fault"}': "0x59 0+1x60"}, 70, 58),
    "SlurmHooksBug": ({'faults_total{event="keeper-bug"}': "0x59 1x60"}, 62, 58),
    "SlurmHooksMetricsStale": ({STALE: "0+60x59 3540x60"}, 76, 68),
    "SlurmHooksLogIncomplete": ({"log_gaps_total": "0x59 1x60"}, 62, 58),
}  # fmt: skip
# What looks alike and is none: alert → series of cn1, over two hours.
QUIET: dict[str, dict[str, str]] = {
    "SlurmHooksNodeHeld": {"node_held": "0x29 1x5 0x85"},  # an operator was quick
    "SlurmHooksEpilogBrokenOff": {'jobs{state="closing"}': "0x59 1x60", "node_held": "0x59 1x60"},  # the other tells
    "SlurmHooksTeardownSlow": {  # one of many
        **{f'teardown_seconds_bucket{{le="{le}"}}': "0+9x120" for le in ("0.5", "1", "2.5", "5", "10")},
        **{f'teardown_seconds_bucket{{le="{le}"}}': "0+9.5x120" for le in ("20", "40", "113", "150", "+Inf")},
        "teardown_seconds_count": "0+9.5x120"},
    "SlurmHooksContainerDiffers": {'differs_total{knob="unread"}': "0x59 1x60"},  # the broker was killed
    "SlurmHooksEscape": {'leftovers_total{kind="ipc",became="reported"}': "0+1x120"},
    "SlurmHooksBrokerRestarts": {"broker_starts_total": "1x59 2x60"},  # an upgrade
    "SlurmHooksDockerdLost": {"dockerd_up": "1x59 0x1 1x60"},  # its restart
    "SlurmHooksFault": {'faults_total{event="keeper-fault"}': "0x59 2x60"},
    "SlurmHooksManyNodesHeld": {"node_held": "0x59 1x60"},  # one node, of two
}  # fmt: skip


def promtool(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run it; what `make test-unit` brings, or this machine's own."""
    found = subprocess.run([ROOT / "tests/labs/promtool.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        reason = f"promtool is not to be had: {found.stderr}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return subprocess.run([found.stdout.strip(), *arguments], input=stdin, capture_output=True, text=True, check=False)


def case(name: str, of_cn1: dict[str, str], expressions: list[dict[str, Any]], nodes: int = 2) -> dict[str, Any]:
    """A test of promtool's: quiet nodes, the first of them with series of its own."""
    used = {name: value for name, value in tally.nothing().items() if f"slurm_hooks_{name.partition('{')[0]}" in TEXT}
    quiet = {name: f"{value:g}x{MINUTES}" for name, value in used.items()}
    quiet |= {'jobs{state="open"}': "3x120", 'jobs{state="closing"}': "0x120", "node_held": "0x120", STALE: "0+60x120"}
    series = [
        {"series": of_node(key, f"cn{number}"), "values": values}
        for number in range(1, nodes + 1)
        for key, values in (quiet | (of_cn1 if number == 1 else {})).items()
    ]
    return {"name": name, "interval": "1m", "input_series": series, "promql_expr_test": expressions}


def of_node(name: str, node: str) -> str:
    """A series as Prometheus has it, once it has scraped it from a node."""
    whole = name if name == STALE else f"slurm_hooks_{name}"
    return f'{whole.removesuffix("}")}{"," if whole.endswith("}") else "{"}instance="{node}",job="node"}}'


def firing(alert: str, minute: int, *, number: int) -> dict[str, Any]:
    """So many alerts of that name fire at a minute."""
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": number}]}


def none_fire(minute: int) -> dict[str, Any]:
    return {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{minute}m", "exp_samples": []}


def tested(tmp_path: Path, *cases: dict[str, Any]) -> None:
    """Run promtool's tests; JSON is YAML."""
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    done = promtool("test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault_in_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0 and f"{len(ALERTS)} rules found" in done.stdout, done.stdout + done.stderr


def test_each_alert_fires_when_it_is_to_and_not_before(tmp_path: Path) -> None:
    assert {*FIRES, "SlurmHooksManyNodesHeld"} == set(ALERTS)
    tested(tmp_path, *(
        case(alert, values, [firing(alert, then, number=1), firing(alert, before, number=0)], nodes=2)
        for alert, (values, then, before) in FIRES.items()
    ))  # fmt: skip


def test_no_alert_fires_for_what_looks_alike(tmp_path: Path) -> None:
    tested(tmp_path, *(
        case(alert, values, [firing(alert, minute, number=0) for minute in range(10, MINUTES, 10)])
        for alert, values in QUIET.items()
    ))  # fmt: skip


def test_nothing_fires_on_a_quiet_node(tmp_path: Path) -> None:
    tested(tmp_path, case("quiet", {}, [none_fire(minute) for minute in range(0, MINUTES, 5)], nodes=2))


def test_many_nodes_at_once_are_one_alert(tmp_path: Path) -> None:
    alert = "SlurmHooksManyNodesHeld"
    held = case("many", {}, [firing(alert, 70, number=1), firing(alert, 62, number=0)], nodes=20)
    for one in held["input_series"]:
        if re.match(r'slurm_hooks_node_held\{instance="cn[1-4]"', one["series"]):
            one["values"] = "0x59 1x60"
    tested(tmp_path, held)


def test_its_words_name_the_node(tmp_path: Path) -> None:
    told = case("words", {"node_held": "0x59 1x60"}, [], nodes=1)
    (rule,) = re.findall(r"- alert: SlurmHooksNodeHeld\n(.*?)\n\n", TEXT, re.DOTALL)
    (description,) = re.findall(r"description: >-\n(.*?)\n +runbook", rule, re.DOTALL)
    told["alert_rule_test"] = [{
        "eval_time": "75m", "alertname": "SlurmHooksNodeHeld",
        "exp_alerts": [{
            "exp_labels": {"severity": "warning", "instance": "cn1", "job": "node"},
            "exp_annotations": {
                "summary": "cn1 is drained: a job that is over left something",
                "description": " ".join(description.split()),
                "runbook": "docs/operators.md#a-node-is-drained",
            },
        }],
    }]  # fmt: skip
    tested(tmp_path, told)


def test_what_the_command_prints_is_what_prometheus_reads(capsys: pytest.CaptureFixture[str]) -> None:
    events.record("refused", job=1, by='x"}\n')
    events.record("epilog", job=1, verdict="clean", seconds=0.1)
    assert cli.main(["metrics"]) == 0
    done = promtool("check", "metrics", stdin=capsys.readouterr().out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_rules_name_series_and_values_that_there_are() -> None:
    families = {f"{family.name}{end}" for family in (*tally.COUNTERS, *tally.GAUGES, *tally.OF_LOG)
                for end in ("", "_bucket", "_count")}  # fmt: skip
    expressions = "\n".join(line for line in TEXT.splitlines() if "slurm_hooks_" in line)
    used = set(re.findall(r"slurm_hooks_(\w+)", expressions))
    assert used <= families, used - families
    known = {*tally.FAULTS, *tally.LEFT, *tally.KNOBS, "unread", "open", "closing", ".*-bug", ".*slurm-hooks.prom"}
    for values in re.findall(r'\b(?:event|kind|knob|state)!?=~?"([^"]*)"', TEXT):
        assert set(values.split("|")) <= known, values


def test_each_alert_says_how_bad_what_to_do_and_where_to_read_on() -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs" / "operators.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    rules = re.split(r"^ *- alert: ", TEXT, flags=re.MULTILINE)[1:]
    for rule in rules:
        assert re.search(r"severity: (critical|warning)\n", rule)
        assert "summary: " in rule and "description: " in rule
        (runbook,) = re.findall(r'runbook: "docs/operators\.md#(.*)"', rule)
        assert runbook in anchors, runbook
