# SPDX-License-Identifier: Apache-2.0
"""A node of a site: lab (b)'s or lab (c)'s, of any of Debian's suites, on which slurm-hooks is installed from its
package by what docs/install.md says, command by command. See cells.py for which there are."""

from __future__ import annotations

from tests.docs import pages
from tests.labs.base import LabMissing
from tests.labs.cells import Cell
from tests.labs.emulated import Emulated
from tests.labs.machine import SOURCE, Machine, NodeLost
from tests.labs.playbook import play
from tests.labs.uml import Uml

SECONDS = 300.0  # for one of its commands
IMAGE = "registry.example.org/tools/img"  # as the page has it


def packaged(cell: Cell, which: str = "") -> Packaged:
    """The node of a cell."""
    return (OnStock if cell.stock else OnUml)(cell, which)


class Packaged(Machine):
    """On the one kernel or the other."""

    def __init__(self, cell: Cell, which: str = "") -> None:
        self.cell, self.suite = cell, cell.suite
        super().__init__(f"{cell.name}{which and '-'}{which}")
        self.kernel = ("lab.bare", *cell.kernel)

    def _sources(self) -> tuple[str, ...]:
        return (*super()._sources(), "tests/labs/cells", "build/deb", "docs/install.md")

    def up(self) -> None:
        if not (SOURCE / "build" / "deb").is_dir():
            raise LabMissing("no packages: make deb")
        super().up()
        if self.sh(self.controller, "test -e /run/lab-installed").status:
            self.installed()

    def installed(self) -> None:
        """As docs/install.md has it. Raises NodeLost with what the first command that failed has said."""
        self._must("mkdir -p /root/debs && cp /src/build/deb/*.deb /root/debs")
        if self.cell.change == "ansible":
            self._played()
        for who, command in steps(self.suite, self.controller):
            if who == "root" and self.cell.change == "ansible":
                continue
            self._say(command)
            if who == "root":
                self._must(f"cd /root/debs && {command}")
            else:
                # Step 4 wants a registry: here is the image of the tests.
                self._must("systemctl start lab-image")
                self._must(command, user="ann")
        # A slurmd that is restarted in the middle of an Epilog leaves its job completing for minutes.
        if reason := self._not_ready():
            raise NodeLost(f"not ready for jobs once slurm-hooks was installed\n{reason}")
        change = "true"
        if self.cell.change:
            change = f"/src/tests/labs/cells/{self.cell.change}.sh"
        site = "install -m 644 /src/tests/labs/slurm-hooks.toml /etc/slurm-hooks/slurm-hooks.toml"
        self._must(f"{site}; {change}; systemctl restart slurmctld slurmd; touch /run/lab-installed")
        if reason := self._not_ready():
            raise NodeLost(f"not ready for jobs with {self.cell.change or 'the site'} set\n{reason}")

    def _played(self) -> None:
        """What root types on the page, by the role; which finds nothing to do a second time."""
        packages = self.sh(self.controller, "ls /root/debs/slurm-hooks_*").out.split()
        wish = {"slurm_hooks_packages": packages, "slurm_hooks_config": "[job]\npids = 4096\n"}
        slurm = ["slurmctld.service", "slurmd.service"]
        for again in (False, True):
            self._say(f"ansible-playbook site.yml{again * ', again'}")
            changed = play(self, self.cell.name, **wish, slurm_hooks_slurm_units=slurm)
            if again is bool(changed):
                raise NodeLost(f"the role changed {changed} things, {'again' if again else 'at first'}")

    def taken_off(self) -> None:
        """As the page has that. Where nobody comes to `installed` again, `up` does."""
        self._must("rm -f /run/lab-installed")
        try:
            for _, command in steps(self.suite, self.controller, "taken off nodes of"):
                self._must(command)
        except NodeLost:  # half way, where the page has it drained: `installed` wants a job of it
            self.sh(self.controller, f"scontrol update nodename={self.controller} state=resume")
            raise

    def _must(self, script: str, user: str = "root") -> None:
        done = self.sh(self.controller, script, user=user, timeout=SECONDS)
        if done.status:
            raise NodeLost(f"{script}\nexit {done.status}\n{done.out}{done.err}")


class OnUml(Packaged, Uml):
    """Lab (b)'s kernel."""


class OnStock(Packaged, Emulated):
    """Debian's own kernel."""


def steps(suite: str, node: str, mark: str = "typed on nodes of") -> list[tuple[str, str]]:
    """The page's commands for a node of a suite: who types each ("root", "login"), and it."""
    found = []
    for block in pages.blocks(pages.DOCS / "install.md"):
        if isinstance(block, pages.Block) and suite in block.marks.get(mark, "").split():
            for command in block.commands:
                found.append((command.who, command.text.replace("cn7", node).replace(IMAGE, "img")))
    return found
