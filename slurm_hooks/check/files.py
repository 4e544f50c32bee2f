# SPDX-License-Identifier: Apache-2.0
"""Files that root runs or obeys, and directories that are nobody else's business. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slurm_hooks.knobs.node import Finding, Node


def check(node: Node) -> Iterable[Finding]:
    """Owners and modes."""
    conf = node.slurm.get("SLURM_CONF", "")
    of_slurm = (conf, conf.rpartition("/")[0])  # SlurmUser's, at many sites; it decides what root runs in any case
    for path, file in node.files.items():
        if (file.uid != 0 and path not in of_slurm) or file.mode & 0o022:
            yield Finding(
                "file-writable", "wrong", "files", f"others than root may change {path}",
                "root runs it, or does what it says", f"Run: chown root: {path}; chmod go-w {path}.",
            )  # fmt: skip
    for path, file in node.closed.items():
        if file.mode & 0o007 or file.uid != 0:
            yield Finding(
                "directory-open", "weak", "files", f"{path} is open to every user ({file.mode:o})",
                "it has what jobs run, and files with the rights that images gave them (CVE-2021-41091, "
                "CVE-2024-25621)", f"Run: chown root {path}; chmod o= {path}.",
            )  # fmt: skip
