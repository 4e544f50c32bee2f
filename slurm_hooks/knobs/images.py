# SPDX-License-Identifier: Apache-2.0
"""Images: those that lie on the node.

Stops: the daemon fetching or unpacking what a user hands it, as root.
Costs: the site brings images to its nodes. Docker: the image name; pull, load, build and tag are refused.
"""

from __future__ import annotations

import re

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Units, nothing_to_see
from slurm_hooks.settings import Settings

OWNS = ("Image",)
# A reference of moby's distribution grammar, loosely: dockerd parses it again, and none of these bytes means more.
REFERENCE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,511}")

verify = nothing_to_see


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    image = units.get("Image", "")
    if not REFERENCE.fullmatch(image):
        raise Refused(f"image {image[:80]!r}", "not a name of an image")
    return Confinement({"Image": image})
