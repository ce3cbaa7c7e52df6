"""Draw the dashboards as pictures, from their JSON and a Prometheus with data.

    python -m deploy.grafana.render http://127.0.0.1:9090 --range 15m --interval 1m

Grafana draws better pictures; these show whether the queries, the units and the layout are right.
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deploy.grafana.catalogue import ROOT
from deploy.grafana.generate import FOLDER
from deploy.grafana.query import Choice, Prometheus, Series, read_panels

PICTURES = ROOT / "docs" / "dashboards"
COLUMNS = 24
COLUMN_INCHES = 0.6
ROW_INCHES = 0.33
DPI = 80
POINTS = 120
COLOURS = {"red": "#d44a3a", "orange": "#f2a13a", "green": "#4f9e4f", "blue": "#3a7bd4"}
MOST_LEGENDS = 8
FEWEST_BARS = 6
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def draw(file: Path, prometheus: Prometheus, choice: Choice, end: float) -> Path:
    """Draw one dashboard; return the picture."""
    panels = read_panels(file)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(COLUMNS * COLUMN_INCHES, rows * ROW_INCHES), dpi=DPI, facecolor="#f4f5f7")
    for panel in panels:
        place = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.006, 1 - (place["y"] + 0.75) / rows, panel["title"], fontsize=12, weight="bold")
            continue
        axes = _card(figure, panel, rows)
        if panel["type"] == "timeseries":
            _draw_series(axes, panel, _over_time(prometheus, panel, choice, end))
        elif panel["type"] == "stat":
            _draw_figure(axes, panel, _at(prometheus, panel, choice, end))
        else:
            _draw_bars(axes, _at(prometheus, panel, choice, end))
    picture = PICTURES / f"{file.stem.removeprefix('rollcall-')}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)
    plt.close(figure)
    return picture


def _over_time(prometheus: Prometheus, panel: dict[str, Any], choice: Choice, end: float) -> list[Series]:
    seconds = int(choice.range[:-1]) * _SECONDS[choice.range[-1]]
    return [
        series
        for target in panel["targets"]
        for series in prometheus.over_time(
            choice.put_into(target["expr"]),
            target["legendFormat"],
            start=end - seconds,
            end=end,
            step_s=seconds / POINTS,
        )
    ]


def _at(prometheus: Prometheus, panel: dict[str, Any], choice: Choice, end: float) -> list[Series]:
    return [
        series
        for target in panel["targets"]
        for series in prometheus.instant(choice.put_into(target["expr"]), target["legendFormat"], at=end)
    ]


def _card(figure: Figure, panel: dict[str, Any], rows: int) -> Axes:
    """A white card in the panel's place, and the axes inside of it."""
    place = panel["gridPos"]
    left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
    bottom, height = 1 - (place["y"] + place["h"]) / rows, place["h"] / rows
    gap_x, gap_y = 0.002, 0.12 / rows
    card = figure.add_axes((left + gap_x, bottom + gap_y, width - 2 * gap_x, height - 2 * gap_y))
    card.set(xticks=[], yticks=[], facecolor="white")
    for side in card.spines.values():
        side.set_color("#dcdfe4")
    figure.text(
        left + 0.006, bottom + height - 0.28 / rows, panel["title"], va="top", fontsize=9, weight="bold"
    )
    inside = (
        left + 0.034,
        bottom + 2.5 / rows,
        width - 0.042,
        height - 3.9 / rows,
    )
    if panel["type"] == "stat":
        inside = (left, bottom, width, height)
    elif panel["type"] == "bargauge":
        inside = (left + 0.105, bottom + 0.5 / rows, width - 0.135, height - 1.9 / rows)
    axes = figure.add_axes(inside)
    axes.set_facecolor("none")
    return axes


def _draw_series(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=7, length=2)
    axes.grid(axis="y", color="#e8eaee", linewidth=0.6)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: in_unit(value, defaults["unit"])))
    locator = AutoDateLocator(maxticks=5, minticks=2)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    if custom.get("stacking", {}).get("mode") == "normal" and series:
        times = sorted({at for one in series for at, _ in one.points})
        values = [[dict(one.points).get(at, 0.0) for at in times] for one in series]
        axes.stackplot(_dates(times), *values, labels=[one.legend for one in series], alpha=0.7)
    else:
        for one in series:
            times = [at for at, _ in one.points]
            values_of_one = [value for _, value in one.points]
            axes.plot(_dates(times), values_of_one, label=one.legend, linewidth=1.2)
    axes.set_ylim(bottom=defaults.get("min"), top=defaults.get("max"))
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes, color="#999999")
        return
    if axes.get_ylim()[1] <= 0.1 and defaults["unit"] == "short":
        axes.set_ylim(top=1)
    handles, labels = axes.get_legend_handles_labels()
    labels = [label[:34] for label in labels[:MOST_LEGENDS]]
    characters = 8 * panel["gridPos"]["w"]
    axes.legend(
        handles[:MOST_LEGENDS],
        labels,
        loc="upper left",
        bbox_to_anchor=(-0.06, -0.1),
        ncols=max(1, min(len(labels), characters // (max(map(len, labels)) + 6))),
        fontsize=6.5,
        frameon=False,
        handlelength=1,
        columnspacing=0.8,
        borderaxespad=0,
    )


def _draw_figure(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    value = series[0].last if series else None
    text = "no data" if value is None else in_unit(value, defaults["unit"], defaults.get("decimals"))
    steps = defaults["thresholds"]["steps"]
    reached = [
        step for step in steps if value is not None and (step["value"] is None or value >= step["value"])
    ]
    colour = COLOURS[reached[-1]["color"]] if reached else "#999999"
    axes.text(0.5, 0.42, text, ha="center", va="center", fontsize=21, weight="bold", color=colour)


def _draw_bars(axes: Axes, series: list[Series]) -> None:
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=8)
    names = [one.legend if "{{" not in one.legend else "none" for one in series]
    values = [one.last for one in series]
    bars = axes.barh(names, values, color=COLOURS["blue"], height=0.62)
    axes.bar_label(bars, [in_unit(value, "short", 0) for value in values], padding=4, fontsize=8)
    axes.set_xlim(0, max([*values, 1]) * 1.12)
    axes.set_ylim(max(len(names), FEWEST_BARS) - 0.5, -0.5)


def _dates(times: list[float]) -> Any:
    return date2num([datetime.fromtimestamp(at, UTC) for at in times])


def in_unit(value: float, unit: str, decimals: int | None = None) -> str:
    """Return the value as Grafana writes it."""
    if unit == "percentunit":
        return f"{100 * value:.{decimals or 0}f} %"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.0f} ms"
    digits = decimals if decimals is not None else (0 if value == int(value) else 2)
    return f"{value:.{digits}f}" + {"s": " s", "ops": "/s", "x": "x"}.get(unit, "")


def main() -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prometheus", help="its address")
    parser.add_argument("--range", default="15m", help="how much time to show")
    parser.add_argument("--interval", default="1m", help="interval of the rates")
    parser.add_argument("--ago", type=float, default=0, help="how many seconds ago that time ended")
    options = parser.parse_args()
    prometheus = Prometheus(options.prometheus)
    for file in sorted(FOLDER.glob("*.json")):
        picture = draw(file, prometheus, Choice(options.interval, options.range), time.time() - options.ago)
        print(picture.relative_to(ROOT))  # noqa: T201
    prometheus.close()


if __name__ == "__main__":
    main()
