# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/ do what the pages show: each page is typed, from its top to its end (docs/writing.md).

UPDATE_GOLDEN=1 writes what was printed into the pages where it is not what they show, for a person to read the
difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cluster.gres import with_gpus
from tests.cluster.programs import with_programs
from tests.cluster.remap import remapped
from tests.cluster.slurm import Cluster
from tests.cluster.typed import Typed, typed
from tests.docs.pages import Block, Scene, agrees, pages, scenes
from tests.labs.packaged import Packaged

pytestmark = pytest.mark.timeout(300)


@contextmanager
def as_installed(cluster: Cluster) -> Iterator[None]:
    yield


@contextmanager
def of_a_lab(cluster: Cluster) -> Iterator[None]:
    if isinstance(cluster.lab, Packaged):
        pytest.skip("a package put slurm-hooks there")
    yield


@contextmanager
def with_cwltool(cluster: Cluster) -> Iterator[None]:
    if cluster.sh(cluster.node, "cwltool --version").status:
        pytest.skip("its cwltool does not start: that of Debian 12 wants setuptools and does not say so")
    yield


# What a page's `<!-- node: … -->` may ask for.
NODES: dict[str, Callable[[Cluster], AbstractContextManager[object]]] = {
    "": as_installed,
    "as installed": as_installed,
    "of a lab": of_a_lab,
    "GPUs": with_gpus,
    "tools": lambda cluster: with_programs(cluster, "tools:1"),
    "cwltool": with_cwltool,
    "root inside": remapped,
}
LONG = {"GPUs", "tools", "root inside"}  # slurmd and dockerd begin anew; a large image
SLOWLY = (pytest.mark.long, pytest.mark.timeout(1800))
ALL = [
    pytest.param(scene, id=f"{scene.page.stem}-{number}", marks=SLOWLY if scene.node in LONG else ())
    for page in pages()
    for number, scene in enumerate(scenes(page), 1)
]


def wrong_with(page: Typed, block: Block) -> Iterator[str]:
    """Type a block; what of it is not as the page shows it."""
    for command in block.commands:
        done = page.say(command.who, command.text)
        if command.says:
            good = agrees(command.says, done.out, figures_vary="figures vary" in block.marks)
        else:
            good = done.status == 0
        printed = done.out.rstrip().split("\n") if command.says and not good else command.says
        block.printed += command.typed + printed
        if not good:
            yield f"{command.line}: {command.text}\n{done.out}{done.err}(exit {done.status})"


def write(page: Path, block: Block) -> None:
    """UPDATE_GOLDEN: the page with what was printed."""
    old, new = ("".join(f"{block.indent}{line}\n" for line in lines) for lines in (block.lines, block.printed))
    page.write_text(page.read_text().replace(f"```console\n{old}", f"```console\n{new}", 1))


@pytest.fixture(scope="module")
def pages_node(cluster: Cluster) -> Iterator[None]:
    """A node that is idle before the first page, and on which nothing is left after the last one."""
    if not cluster.has_systemd:
        pytest.skip("the pages show a node with systemd")
    cluster.cancel_all()
    cluster.wait_idle(cluster.node)
    yield
    cluster.wait_idle(cluster.node)
    assert cluster.left_on(cluster.node) == []


@pytest.mark.usefixtures("pages_node")
@pytest.mark.parametrize("scene", ALL)
def test_what_is_typed_prints_what_the_page_shows(cluster: Cluster, scene: Scene) -> None:
    wrong = []
    with NODES[scene.node](cluster), typed(cluster, options=scene.job) as page:
        for block in scene.blocks:
            if "file" in block.marks:
                page.file(block.marks["file"], "\n".join(block.lines) + "\n")
            elif differs := list(wrong_with(page, block)):
                wrong += differs
                if os.environ.get("UPDATE_GOLDEN"):
                    write(scene.page, block)
    assert not wrong, f"{scene.page.name}, line " + "\n".join(wrong)
