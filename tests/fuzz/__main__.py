# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.fuzz`: each target in a process of its own under libFuzzer; a summary, exit 1 at a finding."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.fuzz",
        description="Fuzz what reads a client's bytes, guided by coverage.",
        epilog="example: python3 -m tests.fuzz --runs 100000 create",
    )
    parser.add_argument("targets", nargs="*", help="stream, create, wishes, bodies, paths (default: all)")
    parser.add_argument("--runs", type=int, default=50_000, help="executions of each target (default: 50000)")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to the kept corpus")
    parser.add_argument("--to", type=Path, default=Path("build"), help="where results go (default: build)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    wish = parser.parse_args()
    if wish.one:
        return _one(wish.one, wish.runs, Path(wish.work))
    names = wish.targets or ["stream", "create", "wishes", "bodies", "paths"]
    found = [_target(name, wish.runs, wish.to, keep=wish.keep) for name in names]
    (wish.to / "fuzz.json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'target':10} {'executions':>12} {'a second':>9} {'edges':>7} {'kept':>5}  result")
    for one in found:
        print(
            f"{one['target']:10} {one['executions']:>12,} {one['rate']:>9,} {one['edges']:>7} {one['kept']:>5}  "
            f"{one['result']}"
        )
    return 0 if all(one["result"] == "no finding" for one in found) else 1


def _target(name: str, runs: int, to: Path, *, keep: bool) -> dict[str, object]:
    work = to / "fuzz" / name
    work.mkdir(parents=True, exist_ok=True)
    print(f"fuzz: {name}, {runs:,} executions", file=sys.stderr, flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--runs", str(runs), "--work", str(work)]
    with (work.parent / f"{name}.log").open("w") as log:
        status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    said = (work.parent / f"{name}.log").read_text(errors="replace")
    done = [int(number) for number in re.findall(r"^#(\d+)", said, re.MULTILINE)] or [0]
    edges = [int(number) for number in re.findall(r" cov: (\d+)", said)] or [0]
    if keep and status == 0:
        _keep(name, work)
    return {
        "target": name,
        "executions": max(done),
        "rate": round(max(done) / (time.monotonic() - began)),
        "edges": max(edges),
        "kept": len(list((HERE / "corpus" / name).glob("*"))),
        "result": "no finding" if status == 0 else f"FINDING: see {work}.log",
    }


def _keep(name: str, work: Path) -> None:
    """libFuzzer leaves there what reached new code, under its hash."""
    kept = HERE / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        shutil.copy(path, kept / path.name)


def _one(name: str, runs: int, work: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["slurm_hooks", "h11"]):
        from tests.fuzz import targets
    seeds, words = work.parent / f"{name}.seeds", work.parent / f"{name}.dict"
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(targets.seeds(name)):
        (seeds / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_quoted(word)}"\n' for word in targets.words()))
    kept = HERE / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    options = [f"-dict={words}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"]
    options.append(f"-artifact_prefix={work.parent}/{name}-")
    options += [f"-runs={runs}", str(work), str(kept), str(seeds)]
    atheris.Setup([sys.argv[0], *options], targets.TARGETS[name])
    atheris.Fuzz()
    return 0


def _quoted(word: bytes) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in word)


if __name__ == "__main__":
    sys.exit(main())
