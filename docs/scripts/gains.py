"""Draw the figure of docs/gains.md from its tables: what flows gain in the variance, here and where it is published.

    python docs/scripts/gains.py docs/gains.md docs/pictures/gains.png

A row of the page is ``| demonstration | observable | this library | published |``; the last two cells hold a number, a range
such as ``1.48 to 1.93``, or nothing.  Every table is a panel with the heading above it as its title.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

from gaugeflow import plots

NUMBER = r"\d+(?:\.\d+)?"


class Row(NamedTuple):
    """One comparison: names, and the ends of the range of each factor, if there is one."""

    label: str
    ours: tuple[float, float] | None
    published: tuple[float, float] | None


def factor(cell: str) -> tuple[float, float] | None:
    """Ends of a range, equal for a single number."""
    found = [float(x) for x in re.findall(NUMBER, cell)]
    return (found[0], found[-1]) if found else None


def tables(page: str) -> dict[str, list[Row]]:
    """Rows of the tables with four columns, by the heading above them."""
    found: dict[str, list[Row]] = {}
    heading = ""
    for line in page.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and not set(cells[0]) <= set("-") and cells[0] != "demonstration":
            name = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cells[0])
            found.setdefault(heading, []).append(Row(f"{name}, {cells[1]}", factor(cells[2]), factor(cells[3])))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("page", type=Path)
    options.add_argument("figure", type=Path)
    given = options.parse_args()
    found = tables(given.page.read_text())
    counts = [len(rows) for rows in found.values()]
    every = [row for rows in found.values() for row in rows]
    largest = max(ends[1] for row in every for ends in (row.ours, row.published) if ends is not None)
    figure, axes = plots.panels(len(found), 1, gridspec_kw={"height_ratios": counts}, sharex=True)
    figure.set_size_inches(7.5, 1.2 + 0.42 * sum(counts))
    for axis, (title, rows) in zip(axes[:, 0], found.items(), strict=True):
        for k, row in enumerate(rows):
            for factors, shift, shade, hatch in ((row.ours, -0.19, 0, ""), (row.published, 0.19, 1, "//")):
                if factors is None:
                    continue
                low, high = factors
                bar = {"height": 0.36, "color": plots.colour(shade), "hatch": hatch, "edgecolor": "white", "lw": 0}
                axis.barh(k + shift, low, **bar)
                if high > low:
                    axis.barh(k + shift, high - low, left=low, alpha=0.5, **bar)
                text = f"{low:g}" if high == low else f"{low:g} to {high:g}"
                axis.annotate(text, (high, k + shift), (3, 0), textcoords="offset points", va="center", fontsize=7)
        axis.axvline(1.0, color="0.5", lw=0.8)
        axis.set(xscale="log", title=title, ylim=(len(rows) - 0.5, -0.5), xlim=(0.7, 8.0 * largest))
        axis.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=8)
    axes[-1, 0].set_xlabel("ratio of variances for equal numbers of configurations", fontsize=9)
    for shade, hatch, label in ((0, "", "this library"), (1, "//", "published")):
        axes[0, 0].barh(-9, 1, color=plots.colour(shade), hatch=hatch, edgecolor="white", lw=0, label=label)
    axes[0, 0].legend(fontsize=8, loc="lower right")
    print(plots.save(figure, given.figure))


if __name__ == "__main__":
    main()
