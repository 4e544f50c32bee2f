# SPDX-License-Identifier: Apache-2.0
"""A Debian suite in a directory, as a node before us, and what is done in it as root."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
BEFORE = ("systemd", "python3", "docker.io", "apparmor", "logrotate", "man-db", "bash")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Suite:
    """One suite's tree."""

    name: str
    root: Path

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """What a shell in it makes of a script."""
        line = ["chroot", str(self.root), "/bin/sh", "-ec", script]
        return subprocess.run(line, capture_output=True, text=True, env=ENVIRONMENT, timeout=280, check=False)

    def must(self, script: str) -> str:
        """The same; its output. Fails the test where the script does."""
        done = self.run(script)
        assert done.returncode == 0, f"{self.name}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def install(self, *debs: Path, options: str = "") -> str:
        """As an operator does it: by apt, with what they depend on. Recommended ones are left out, to be quicker."""
        for deb in debs:
            shutil.copy(deb, self.root / "tmp")
        names = " ".join(f"/tmp/{deb.name}" for deb in debs)
        said = self.must(f"apt-get -qq -y --no-install-recommends {options} install {names} 2>&1")
        for deb in debs:
            (self.root / "tmp" / deb.name).unlink()
        return said


@contextmanager
def unpacked(name: str, *more: str) -> Iterator[Suite]:
    """A suite's tree, fresh, with these packages more; it is removed at the end."""
    made = subprocess.run([str(HERE / "suite.sh"), name, *BEFORE, *more], stdout=subprocess.PIPE, text=True, check=True)
    tar = Path(made.stdout.strip())
    root = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=tar.parent))
    try:
        subprocess.run(["tar", "-xf", str(tar), "-C", str(root)], check=True)
        root.chmod(0o755)
        yield Suite(name, root)
    finally:
        shutil.rmtree(root)


def later(deb: Path, version: str, directory: Path) -> Path:
    """The same package with another version, and with another `slurm-hooks --version`."""
    tree, made = directory / "tree", directory / f"slurm-hooks_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", str(deb), str(tree)], check=True)
    control, module = tree / "DEBIAN/control", tree / "usr/lib/slurm-hooks/slurm_hooks/__init__.py"
    old = next(line for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(old, f"Version: {version}"))
    (assignment,) = (line for line in module.read_text().splitlines() if line.startswith("__version__ ="))
    module.write_text(module.read_text().replace(assignment, f'__version__ = "{version}"'))
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)], check=True, capture_output=True)
    return made
