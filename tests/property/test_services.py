# SPDX-License-Identifier: Apache-2.0
"""A line of `reach`: whatever it is, it is refused in words, or the rules that it makes say nothing but it."""

from __future__ import annotations

import re
from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from slurm_hooks import firewall
from slurm_hooks.firewall import Open
from slurm_hooks.services import NEVER, parsed

POOL = IPv4Network("198.18.0.0/15")
HOSTS = st.one_of(st.ip_addresses(v=4).map(str), st.sampled_from(["a.example", "10.0.0.0/8", "[::1]"]), st.text())
LINES = st.builds(
    "{}:{}/{}".format,
    HOSTS,
    st.one_of(st.integers(-1, 70_000), st.text(max_size=9)),
    st.sampled_from(["tcp", "udp", "x"]),
)


@given(st.one_of(LINES, st.text()))
def test_a_line_is_refused_or_makes_its_own_rules_alone(line: str) -> None:
    try:
        service = parsed(line)
    except ValueError:
        return
    found = service.network or IPv4Network("10.1.2.3")
    assert not any(found.overlaps(never) for never in NEVER)
    one = {"n": [Open((found,), service.port, service.protocol)]}
    more = set(firewall.ruleset(one, POOL, by_bridge=True).splitlines()) - set(
        firewall.ruleset({"n": []}, POOL, by_bridge=True).splitlines()
    )
    assert len(more) == 2
    for rule in more:
        assert re.fullmatch(r"ip [ds]addr \{ [0-9./]+ \} (tcp|udp) [ds]port [0-9-]+ (ct [a-z ]+ )?accept", rule)
