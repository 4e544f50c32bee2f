# SPDX-License-Identifier: Apache-2.0
"""What people and Prometheus see of a job that has run: its page, and the figures of its node."""

from __future__ import annotations

import pytest

from tests.cluster.slurm import Cluster
from tests.unit.test_metrics import figures
from tests.unit.test_page import Seen

pytestmark = pytest.mark.anywhere

JOB = """docker run --rm --name fine img true
docker run --rm --name wrong -e '<script>=1' img sh -c 'sleep 1; exit 3'
docker run --rm --privileged img true
docker run --rm -v /etc:/etc img true
true"""
COLLECTOR = "/var/lib/prometheus/node-exporter"


def figures_of(cluster: Cluster, node: str) -> dict[str, float]:
    """The node's figures now: by the unit where there is a systemd, as the timer starts it."""
    file = f"{COLLECTOR}/slurm-hooks.prom"
    cluster.must(
        node,
        f"mkdir -p {COLLECTOR}; rm -f {file}; if [ -d /run/systemd/system ]; then systemctl start slurm-hooks-metrics; "
        f"else slurm-hooks metrics --output {file}; fi",
    )
    assert cluster.must(node, f"stat -c %a {file}").strip() == "644"
    return figures(cluster.must(node, f"cat {file}"))


def test_a_job_is_seen_on_its_page_and_in_the_figures_of_its_node(cluster: Cluster, node: str) -> None:
    before = figures_of(cluster, node)
    job = cluster.run(JOB)

    page = Seen(cluster.must(node, f"slurm-hooks report {job.id} --html"))
    assert page.open == [] and not page.all("script")
    assert {f"Job {job.id}", "fine", "wrong", "exit 3"} <= set(page.texts)
    (headline,) = (text for text in page.texts if text.startswith("Clean: nothing of the job was left"))
    assert "It ran 2 containers, 1 failed; 2 requests were refused." in headline
    bars = [each["class"] for each in page.all("rect") if each.get("class", "").startswith("bar ")]
    assert bars.count("bar done") == bars.count("bar died") == 2  # one of each is the legend's

    after = figures_of(cluster, node)
    risen = {name: after[name] - before[name] for name in after if name.split("{")[0].endswith(("_total", "_count"))}
    assert {name: by for name, by in risen.items() if by} == {
        "jobs_begun_total": 1, 'jobs_ended_total{verdict="clean"}': 1, "teardown_seconds_count": 1,
        "containers_created_total": 2, 'containers_ended_total{cause="done"}': 1,
        'containers_ended_total{cause="failed"}': 1, 'refusals_total{knob="capabilities"}': 1,
        'refusals_total{knob="mounts"}': 1,
        **{name: by for name, by in risen.items() if by and name.startswith("containers_started_total")},
    }  # fmt: skip
    assert sum(by for name, by in risen.items() if name.startswith("containers_started_total")) == 2
    assert (after["node_held"], after['jobs{state="open"}']) == (0, 0)
