"""Figures of the pages that are drawn from measurements when the documentation is built."""

import json
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "asv_bench"
PROCESSORS = {"AMD, AVX-512": "steps", "AMD, AVX2": "steps_avx2", "Intel, AVX-512": "steps_intel"}
VARIANTS = ("batchnorm + dropout", "plain")


def ratios(rows, families):
    """For each library its times over fastfc's by shape: {title: {shape: ratio}}, of what was counted."""
    from fastfc.bench.rounds import best

    found = {title: {} for title in families if title != "fastfc"}
    for row in rows:
        engines = best(row["engines"])
        for title, names in families.items():
            times = [one["median_us"] for name, one in engines.items() if name in names and one["counted"]]
            if title != "fastfc" and times:
                found[title][row["shape"]] = min(times) / engines["fastfc"]["median_us"]
    return {title: by_shape for title, by_shape in found.items() if by_shape}


def steps():
    """The figure of steps: a panel for each variant and processor, a dot for each library and network."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    sys.path.insert(0, str(BENCH))
    from report import FAMILIES

    sys.path.remove(str(BENCH))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(len(VARIANTS), len(PROCESSORS), sharex=True, sharey=True)
    colors = dict(zip((title for title in FAMILIES if title != "fastfc"), colormaps["tab10"].colors, strict=False))
    shapes = []
    for column, (processor, source) in enumerate(PROCESSORS.items()):
        rows = json.loads((BENCH / "results" / f"{source}.json").read_text(encoding="utf-8"))["rows"]
        for line, variant in enumerate(VARIANTS):
            axes = panels[line, column]
            chosen = [row for row in rows if row["variant"] == variant]
            shapes = shapes or [row["shape"] for row in chosen]
            for title, by_shape in ratios(chosen, FAMILIES).items():
                known = [shape for shape in by_shape if shape in shapes]
                places = [shapes.index(shape) for shape in known]
                axes.plot(
                    [by_shape[shape] for shape in known], places, "o", color=colors[title], label=title, alpha=0.9
                )
            axes.axvline(1, color="0.2", linewidth=1.2)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, place: f"{x:g} x"))
            axes.grid(color="0.92")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            if line == 0:
                axes.set_title(processor, fontsize=10, fontweight="bold")
            if column == 0:
                axes.set_ylabel(variant)
    panels[0, 0].set_yticks(range(len(shapes)), shapes)
    for axes in panels[:, 0]:
        axes.tick_params(axis="y", labelsize=8)
    panels[0, 0].invert_yaxis()
    handles = {
        label: handle for axes in panels.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
    figure.supxlabel("time of a step, as a multiple of fastfc's (the line at 1 x)", fontsize=10)
    return figure


def draw(folder):
    """Save the figures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    steps().savefig(folder / "steps.svg")
