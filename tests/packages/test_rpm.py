# SPDX-License-Identifier: Apache-2.0
"""The RPM package, as rpm(8) itself installs, refuses to remove and removes it. Its tests are one story, in order.

On Debian, in a chroot, where its plugin for mount namespaces does not work: what Fedora and Enterprise Linux have
beside it is not tried here, and dependencies are not looked at.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest

from slurm_hooks import __version__
from tests.packages.suite import Suite, unpacked
from tests.unit.policy import GOLDEN, ROOT

PYTHON = ("python3-h11", "python3-psutil", "python3-msgspec")
# What only one of the two has, and modules, which the program's own start tells of.
ELSE = re.compile(r"^/usr/share/(doc|licenses|lintian|python3)/|/slurm_hooks/.+\.py$")
REMOVE = "rpm --noplugins -e slurm-hooks 2>&1"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacks root trees")


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    """A node with our package."""
    (package,) = (ROOT / "build" / "rpm").glob("*.rpm")
    with unpacked("trixie", "rpm", *PYTHON) as found:
        shutil.copy(package, found.root / "tmp" / "hooks.rpm")
        found.must("rpm --noplugins -i --nodeps /tmp/hooks.rpm; mv /tmp/hooks.rpm /root")
        yield found


def test_it_has_the_files_of_the_debian_package_with_their_modes(suite: Suite) -> None:
    debian = {
        (mode, path.removesuffix(".gz"))
        for mode, _, path in (line.split() for line in (GOLDEN / "package.txt").read_text().splitlines())
    }
    listed = suite.must("rpm -q --queryformat '[%{FILEMODES:perms} %{FILENAMES}\\n]' slurm-hooks")
    found = {(mode, path.removesuffix(".gz")) for mode, path in (line.split() for line in listed.splitlines())}
    assert {one for one in found if one[0].startswith("-") and not ELSE.search(one[1])} == {
        one for one in debian if not ELSE.search(one[1])
    }


def test_the_program_runs_compiled(suite: Suite) -> None:
    assert suite.must("slurm-hooks --version").split() == ["slurm-hooks", __version__]
    suite.must("slurm-hooks config && slurm-hooks explain 'docker run img'")
    count = "find /usr/lib/slurm-hooks/slurm_hooks -name '*.{}' | wc -l"
    assert suite.must(count.format("py")) == suite.must(count.format("pyc"))


def test_a_changed_configuration_stays_at_an_upgrade(suite: Suite) -> None:
    site = suite.root / "etc/slurm-hooks/slurm-hooks.toml"
    site.write_text("[job]\npids = 512\n")
    suite.must("rpm --noplugins -U --nodeps --force /root/hooks.rpm")
    assert site.read_text() == "[job]\npids = 512\n"
    suite.must("slurm-hooks --version")


def test_it_is_not_removed_while_slurm_or_jobs_need_it(suite: Suite) -> None:
    conf, note = suite.root / "etc/slurm/slurm.conf", suite.root / "run/slurm-hooks/jobs/7-0-x/containers/1"
    note.parent.mkdir(parents=True)
    for path, text, why in (
        (conf, "Include /etc/slurm/slurm-hooks.conf\n", "slurm.conf names slurm-hooks"),
        (note, "", "jobs have containers here; drain the node first"),
    ):
        path.write_text(text)
        refused = suite.run(REMOVE)
        assert refused.returncode != 0
        assert f"slurm-hooks: not removed: {why}" in refused.stdout
        suite.must("slurm-hooks --version")
        path.unlink()


def test_its_removal_leaves_the_sites_configuration_and_the_log(suite: Suite) -> None:
    suite.must(REMOVE)
    left = suite.must("find / -xdev -iname '*slurm*hooks*' -not -path '/proc/*' -not -path '/run/*'").split()
    kept = "/etc/slurm-hooks", "/etc/slurm-hooks/slurm-hooks.toml.rpmsave", "/var/log/slurm-hooks"
    assert kept[1] in left and set(left) <= set(kept)
