# SPDX-License-Identifier: Apache-2.0
"""What a comparison gave: the ratio of each pair, its median and spread, and whether a bar is met."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Bar:
    """What must hold today: the median ratio, or the median of the pairs' differences."""

    ratio: float = 0.0
    more: float = 0.0  # seconds

    def __str__(self) -> str:
        return f"<= {self.ratio}" if self.ratio else f"<= +{self.more * 1000:.0f} ms"


@dataclass(frozen=True)
class Figure:
    """Ours against theirs, pair by pair: taken in turns in one run, so that a busy machine slows both."""

    name: str
    ours: tuple[float, ...]  # seconds
    theirs: tuple[float, ...]
    bar: Bar | None = None

    @property
    def ratios(self) -> list[float]:
        """Of each pair."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the pairs' ratios: half of them lie between."""
        low, _, high = quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def more(self) -> float:
        """The median of the pairs' differences, in seconds."""
        return median(ours - theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def met(self) -> bool:
        """Is the bar met, or is there none?"""
        if self.bar is None:
            return True
        return self.ratio <= self.bar.ratio if self.bar.ratio else self.more <= self.bar.more

    def to_json(self) -> dict[str, str | float | int]:
        """As build/bench.json has it."""
        low, high = self.spread
        return {
            "name": self.name,
            "ratio": round(self.ratio, 3),
            "low": round(low, 3),
            "high": round(high, 3),
            "n": len(self.ours),
            "ours": round(median(self.ours), 4),
            "against": round(median(self.theirs), 4),
        }


HEAD = ("what", "ratio", "quartiles", "n", "ours", "against", "more", "bar", "")


def table(figures: Iterable[Figure]) -> str:
    """The figures as a person reads them; milliseconds are medians of this run on this machine."""
    rows = [HEAD]
    for figure in figures:
        low, high = figure.spread
        rows.append(
            (
                figure.name,
                f"{figure.ratio:.2f}",
                f"{low:.2f} - {high:.2f}",
                str(len(figure.ours)),
                f"{median(figure.ours) * 1000:.0f} ms",
                f"{median(figure.theirs) * 1000:.0f} ms",
                f"{figure.more * 1000:+.0f} ms",
                str(figure.bar or "-"),
                "" if figure.bar is None else "ok" if figure.met else "NOT OK",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
