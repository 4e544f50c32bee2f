# SPDX-License-Identifier: Apache-2.0
"""The Debian packages on each suite: installed, run, upgraded, removed, purged. Its tests are one story, in order."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm_hooks import __version__
from tests.packages.suite import Suite, later, unpacked
from tests.pages.verbs import verbs
from tests.unit.policy import ROOT, golden

DEBS = ROOT / "build" / "deb"
LIBRARY = "/usr/lib/slurm-hooks"
UNITS = sorted(unit.name for unit in (ROOT / "etc" / "systemd").iterdir())
HOOKS = ("/etc/slurm/prolog.d/50-slurm-hooks", "/etc/slurm/epilog.d/50-slurm-hooks")
OTHERS = ("/etc/slurm/task_prolog.sh", "/etc/slurm/task_epilog.sh")
REMOVE = "apt-get -qq -y remove slurm-hooks 2>&1"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="unpacks root trees")


def deb(name: str) -> Path:
    """The package that `make deb` has built."""
    (found,) = DEBS.glob(f"{name}_*.deb")
    return found


@pytest.fixture(scope="module", params=("bookworm", "trixie", "sid"))
def suite(request: pytest.FixtureRequest) -> Iterator[Suite]:
    """A suite with our packages."""
    with unpacked(request.param) as found:
        more = [deb("slurm-hooks-msgspec")] if found.name == "bookworm" else []
        found.install(deb("slurm-hooks"), *more)
        yield found


def test_the_package_has_these_files_with_these_modes() -> None:
    listed = subprocess.run(
        ["dpkg-deb", "-c", str(deb("slurm-hooks"))], capture_output=True, text=True, check=True
    ).stdout
    found = []
    for line in listed.splitlines():
        mode, owner, _, _, _, path = line.split(maxsplit=5)
        if not path.endswith("/") and not re.search(r"/slurm_hooks/.+\.py$|/doc/slurm-hooks/", path):
            found.append(f"{mode} {owner} {path.removeprefix('.')}\n")
    golden("package.txt", "".join(found))


def test_it_uses_the_suites_own_python_packages(suite: Suite) -> None:
    script = "import h11, msgspec, psutil; print(*(m.__file__.rsplit('/', 2)[0] for m in (h11, psutil, msgspec)))"
    *others, msgspec = suite.must(
        f"/usr/bin/python3 -I -c \"import sys; sys.path.insert(0, '{LIBRARY}'); {script}\""
    ).split()
    assert others == ["/usr/lib/python3/dist-packages"] * 2
    assert msgspec == (LIBRARY if suite.name == "bookworm" else "/usr/lib/python3/dist-packages")


def test_nothing_is_enabled_by_its_installation(suite: Suite) -> None:
    said = suite.run(f"systemctl --root=/ is-enabled {' '.join(UNITS)}").stdout.split()
    assert len(said) == len(UNITS)
    assert set(said) <= {"disabled", "static"}


def test_the_program_runs(suite: Suite) -> None:
    assert suite.must("slurm-hooks --version").split() == ["slurm-hooks", __version__]
    assert all(verb in suite.must("slurm-hooks --help") for verb in verbs())
    suite.must("slurm-hooks config && slurm-hooks policy && slurm-hooks explain 'docker run img'")
    suite.must(
        f"/usr/bin/python3 -I -c \"import sys; sys.path.insert(0, '{LIBRARY}'); import slurm_hooks.broker.server\""
    )


@pytest.mark.parametrize("hook", ["prolog", "task_prolog", "task_epilog", "epilog"])
def test_a_hook_reads_compiled_modules_alone(suite: Suite, hook: str) -> None:
    loads = f"import sys; sys.path.insert(0, '{LIBRARY}'); import slurm_hooks.{hook}"
    said = suite.run(f'/usr/bin/python3 -ISv -c "{loads}" 2>&1').stdout
    matched = re.findall(rf"^# {LIBRARY}/\S+\.pyc matches", said, re.MULTILINE)
    assert matched
    assert len(matched) == len(re.findall(rf"^# code object from '{LIBRARY}/\S+\.pyc'", said, re.MULTILINE))
    assert not re.search(rf"^# code object from {LIBRARY}|^# wrote", said, re.MULTILINE)


# A module as an upgrade may have it for an instant; the next one who asks has the real one.
HALF = """import os
os.rename(__file__ + ".whole", __file__)
raise ImportError("half an upgrade")
"""


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_meets_half_an_upgrade_tries_again(suite: Suite, hook: str) -> None:
    module = suite.root / LIBRARY.strip("/") / "slurm_hooks/events.py"
    module.rename(f"{module}.whole")
    module.write_text(HALF)
    suite.must(hook)
    assert not Path(f"{module}.whole").exists()
    suite.must(f"py3compile -f -p slurm-hooks {LIBRARY}")


def test_an_epilog_that_cannot_look_fails_and_a_prolog_does_not(suite: Suite) -> None:
    module = suite.root / LIBRARY.strip("/") / "slurm_hooks/events.py"
    module.rename(f"{module}.whole")
    assert suite.run(HOOKS[0]).returncode == 0
    assert suite.run(HOOKS[1]).returncode == 1
    Path(f"{module}.whole").rename(module)


def test_each_verb_has_its_page(suite: Suite) -> None:
    pages = ["slurm-hooks", "slurm-hooks.toml", *(f"slurm-hooks-{verb}" for verb in verbs())]
    assert len(suite.must(f"man -w {' '.join(pages)}").split()) == len(pages)


def test_an_upgrade_and_a_downgrade_keep_the_sites_configuration(suite: Suite, tmp_path: Path) -> None:
    site = suite.root / "etc/slurm-hooks/slurm-hooks.toml"
    site.write_text("[job]\npids = 512\n")
    suite.install(later(deb("slurm-hooks"), f"{__version__}+later", tmp_path))
    assert suite.must("slurm-hooks --version").split() == ["slurm-hooks", f"{__version__}+later"]
    suite.install(deb("slurm-hooks"), options="--allow-downgrades")
    assert suite.must("slurm-hooks --version").split() == ["slurm-hooks", __version__]
    assert site.read_text() == "[job]\npids = 512\n"
    stale = f"find {LIBRARY}/slurm_hooks -name '*.py' | wc -l; find {LIBRARY}/slurm_hooks -name '*.pyc' | wc -l"
    sources, compiled = suite.must(stale).split()
    assert sources == compiled


def test_it_is_not_removed_while_jobs_have_containers(suite: Suite) -> None:
    note = suite.root / "run/slurm-hooks/jobs/7-0-x/containers/1"
    note.parent.mkdir(parents=True)
    note.touch()
    refused = suite.run(REMOVE)
    assert refused.returncode != 0
    assert "slurm-hooks: not removed: jobs have containers here; drain the node first" in refused.stdout
    suite.must("slurm-hooks --version")
    note.unlink()


@pytest.mark.parametrize("line", ["Include /etc/slurm/slurm-hooks.conf", f"Prolog={HOOKS[0]}"])
def test_it_is_not_removed_while_slurm_needs_it(suite: Suite, line: str) -> None:
    conf = suite.root / "etc/slurm/slurm.conf"
    conf.write_text(f"# slurm-hooks\n{line}\n")
    refused = suite.run(REMOVE)
    assert refused.returncode != 0
    assert "slurm-hooks: not removed: slurm.conf names slurm-hooks" in refused.stdout
    conf.unlink()


def test_a_removed_package_fails_no_job(suite: Suite) -> None:
    suite.must(REMOVE)
    assert not (suite.root / LIBRARY.strip("/") / "slurm_hooks").exists()
    for hook in (*HOOKS, *OTHERS):  # configuration files, which a purge takes
        suite.must(hook)


def test_a_purge_leaves_nothing_of_ours(suite: Suite) -> None:
    suite.must("apt-get -qq -y purge slurm-hooks slurm-hooks-msgspec 2>&1 || apt-get -qq -y purge slurm-hooks 2>&1")
    left = suite.must("find / -xdev -iname '*slurm*' -not -path '/proc/*'")
    assert left == ""
    assert "slurm" not in suite.must("cat /var/lib/dpkg/status | grep ^Package:")


def test_the_wheel_runs_anywhere(tmp_path: Path) -> None:
    (wheel,) = (ROOT / "build" / "dist").glob("*.whl")
    install = ["install", "-q", "--disable-pip-version-check", "--no-deps", "--target", str(tmp_path), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    line = [sys.executable, str(tmp_path / "bin" / "slurm-hooks"), "explain", "docker run --privileged img"]
    said = subprocess.run(line, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert said.returncode == 1
    assert "--privileged" in said.stdout


def test_the_sdist_has_what_builds_the_rest() -> None:
    (sdist,) = (ROOT / "build" / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "Makefile",
        "pyproject.toml",
        "debian/control",
        "etc/docker/slurm-jobs.json",
        "docs/man/slurm-hooks.1",
    } <= names


def sums(directory: Path) -> dict[str, str]:
    """A hash of each package: pytest would show how megabytes differ."""
    files = (one for one in directory.iterdir() if not one.name.startswith("."))
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files}


def test_the_same_sources_make_the_same_bytes(tmp_path: Path) -> None:
    for script, kept in (("deb.sh", DEBS), ("dist.sh", ROOT / "build" / "dist"), ("rpm.sh", ROOT / "build" / "rpm")):
        made = tmp_path / script
        subprocess.run([ROOT / "tests" / "packages" / script, made], capture_output=True, check=True)
        assert sums(made) == sums(kept), script
