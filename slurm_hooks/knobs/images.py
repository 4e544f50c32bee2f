# SPDX-License-Identifier: Apache-2.0
"""Images: those that the site lets jobs run, from the registries that it lets them pull from.

Stops: the daemon fetching, from wherever a user says, or unpacking what a user hands it, as root.
Costs: without a registry in its configuration the site brings images to its nodes.
Docker: the image name; docker pull, docker login. load, build, push and tag are refused. A name is judged by what it
means to moby (`img` is docker.io/library/img), and `admits` by what it was resolved to on the node: the
container is then made of that image's id, so a tag that moves meanwhile moves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from slurm_hooks.errors import Refused
from slurm_hooks.knobs.contract import Confinement, JobFacts, Row, Units, nothing_to_see
from slurm_hooks.knobs.node import Finding, Node, in_dockerd, in_dockerds_file
from slurm_hooks.settings import Settings

ROWS = (Row("Image", "allow", "of a repository that the site lets jobs run (images.allow), made from its id"),)
OWNS = tuple(row.unit for row in ROWS)
# What the docker CLI and moby (distribution/reference) make of a name; a host alone may have capitals.
HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = re.compile(rf"{HOST}(?:\.{HOST})*(?::[0-9]{{1,5}})?")
PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
PATH = re.compile(rf"{PART}(?:/{PART})*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
LONGEST = 255  # characters of a repository's name, as moby has it
HUB, HUB_ALIASES = "docker.io", ("index.docker.io", "registry-1.docker.io")
LOOPBACK = ("127.0.0.0/8", "::1/128")  # that dockerd trusts by itself
STORES = ("overlay2", "overlayfs")  # moby's own, and containerd's: in these the links of an image can be followed
BRING = "Ask the site to bring the image to the nodes."

verify = nothing_to_see


@dataclass(frozen=True, slots=True)
class Reference:
    """An image's name in moby's normal form."""

    domain: str  # docker.io where none was typed
    path: str  # library/img for img
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Where it is from: docker.io/library/img."""
        return f"{self.domain}/{self.path}"

    @property
    def name(self) -> str:
        """All of it; with a digest the tag says nothing, as to moby."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or 'latest'}"


def parse(text: str) -> Reference:
    """A name as moby takes it (reference.ParseNormalizedNamed). Raises Refused."""
    bad = Refused(f"image {text[:80]!r}", "not a name of an image")
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise bad
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head.lower() != head):
        domain, rest = head, tail
    else:
        domain = HUB
    path, colon, tag = rest.partition(":")
    domain = HUB if domain in HUB_ALIASES else domain
    if domain == HUB and "/" not in path:
        path = f"library/{path}"
    found = Reference(domain, path, tag, digest)
    if not (DOMAIN.fullmatch(domain) and PATH.fullmatch(path)) or len(found.repository) > LONGEST:
        raise bad
    if colon and not TAG.fullmatch(tag):
        raise bad
    return found


def confine(units: Units, job: JobFacts, site: Settings) -> Confinement:
    image = units.get("Image", "")
    if not ID.fullmatch(image):
        parse(image)
    return Confinement({"Image": image})


def admits(names: Iterable[str], site: Settings) -> bool:
    """May jobs run the image that has these names (RepoTags and RepoDigests) on the node?

    One name that the site allows is enough: what runs is the same. An image without a name is allowed where all are.
    """
    if "*" in site.images.allow:
        return True
    return matches(names, site.images.allow)


def matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Does one of an image's names lie in a repository that one of the patterns means?"""
    found = set()
    for name in names:
        try:
            found.add(parse(name).repository)
        except Refused:
            continue  # moby's <none>:<none>
    return any(_expression(pattern).fullmatch(repository) for pattern in patterns for repository in found)


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    """A site's pattern, completed as a name would be; `*` is any text, slashes too."""
    head, slash, _ = pattern.partition("/")
    if pattern != "*" and not (slash and ("." in head or ":" in head or head == "localhost")):
        pattern = f"{HUB}/{pattern if slash else f'library/{pattern}'}"
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))


def to_pull(image: str, tag: str, site: Settings) -> Reference:
    """What `docker pull` may fetch: from an allowed registry, of an allowed repository, one tag. Raises Refused."""
    if not site.images.registries:
        raise Refused("docker pull", "a job runs the images that `docker images` lists", BRING)
    wanted = parse(image)
    if tag:
        exact = DIGEST.fullmatch(tag)
        if not exact and not TAG.fullmatch(tag):
            raise Refused(f"docker pull {image}", f"{tag[:80]!r} is not a tag")
        wanted = replace(wanted, tag="", digest=tag) if exact else replace(wanted, tag=tag, digest="")
    if not wanted.tag and not wanted.digest:
        raise Refused(f"docker pull --all-tags {image}", "one image at a time", "Name a tag.")
    refuse_registry(f"docker pull {wanted.name}", wanted.domain, site)
    if not admits([wanted.name], site):
        raise Refused(f"docker pull {wanted.name}", "not an image that the site lets jobs run", BRING)
    return wanted


def refuse_registry(what: str, domain: str, site: Settings) -> None:
    """Only a registry that the site has named is ever spoken to. Raises Refused."""
    if domain not in site.images.registries:
        names = ", ".join(site.images.registries) or "none"
        raise Refused(what, f"{domain} is not a registry for jobs here ({names})", BRING)


def registry_of(address: str) -> str:
    """The registry that a client means by a server address: `https://index.docker.io/v1/` is docker.io."""
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in ("", *HUB_ALIASES) else host


def address_of(domain: str) -> str:
    """A registry's address as moby wants it beside credentials."""
    return "https://index.docker.io/v1/" if domain == HUB else domain


def check(node: Node) -> Iterable[Finding]:
    driver = node.info.get("Driver", "overlay2")
    if driver not in STORES:
        yield Finding(
            "storage-driver", "wrong", "images", f"the jobs' dockerd keeps images in {driver}",
            "where their links cannot be followed: no container starts",
            in_dockerd(node, "storage-driver"),
        )  # fmt: skip
    registries = node.info.get("RegistryConfig") or {}
    known = registries.get("IndexConfigs") or {}
    insecure = [name for name, one in known.items() if not one.get("Secure", True)]
    insecure += [place for place in registries.get("InsecureRegistryCIDRs") or () if place not in LOOPBACK]
    if insecure:
        yield Finding(
            "registry-insecure", "weak", "images", f"dockerd trusts without TLS: {', '.join(sorted(insecure))}",
            "whoever is on the way there chooses what jobs run",
            in_dockerds_file(
                node, 'no "insecure-registries"; the registry\'s own CA in /etc/docker/certs.d/HOST/ca.crt'
            ),
        )  # fmt: skip
