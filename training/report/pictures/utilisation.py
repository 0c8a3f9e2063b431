"""Utilisation: heat maps of what the gates of a network choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from training.report.pictures.picture import Grid, Picture
from training.report.pictures.svg import ACCENT, MUTED, drawn, tidy


def utilisation_pictures(report: Mapping[str, Any]) -> list[Picture]:
    """What each network's gates choose: a heat map for each network that has gates."""
    found = []
    for name, of in report["networks"].items():
        used = of["utilisation"]
        if not used:
            continue
        gates = used["gates"]
        experts = {
            level: sorted(
                dict.fromkeys(e for gate in gates if gate["level"] == level for e in gate["experts"]),
                key=lambda expert: expert.startswith("shared "),
            )
            for level in sorted({gate["level"] for gate in gates})
        }
        found.append(
            Picture(
                f"utilisation-{name}",
                f"{name}: what gates choose",
                "Each row is a gate, named by the task that reads it; each cell the share that it gives an "
                "expert: mean over validation rows and "
                f"over {used['seeds']} {'seed' if used['seeds'] == 1 else 'seeds'}, and below it the "
                f"standard deviation over "
                "rows (±). Darker is more. Empty: the gate does not see this expert. Experts of one kind "
                "are in the order of their use in each seed, "
                "so number 1 is the most used.",
                f"Heat map of gate weights of {name}. " + " ".join(_spoken_gate(gate) for gate in gates),
                _heat_maps(f"utilisation-{name}", gates, experts),
                Grid(
                    ("gate", "level", "expert", "mean weight", "deviation over rows", "deviation over seeds"),
                    tuple(
                        (
                            gate["reader"],
                            str(gate["level"]),
                            expert,
                            f"{mean:.3f}",
                            f"{deviation:.3f}",
                            f"{spread:.3f}",
                        )
                        for gate in gates
                        for expert, mean, deviation, spread in zip(
                            gate["experts"], gate["mean"], gate["deviation"], gate["spread"], strict=True
                        )
                    ),
                ),
            )
        )
    return found


def _heat_maps(name: str, gates: Sequence[Mapping[str, Any]], experts: Mapping[int, Sequence[str]]) -> str:
    cell, left, above = (0.62, 0.42), 1.2, 0.8
    readers = {level: [gate for gate in gates if gate["level"] == level] for level in experts}
    high = sum(above + cell[1] * len(of) for of in readers.values()) + 0.1
    wide = left + cell[0] * max(map(len, experts.values())) + 0.35

    def draw(figure: Figure) -> None:
        top = high
        for level, names in experts.items():
            rows = readers[level]
            bottom = top - above - cell[1] * len(rows)
            axes = figure.add_axes(
                (left / wide, bottom / high, cell[0] * len(names) / wide, cell[1] * len(rows) / high)
            )
            tidy(axes)
            for row, gate in enumerate(rows):
                for expert, mean, deviation in zip(
                    gate["experts"], gate["mean"], gate["deviation"], strict=True
                ):
                    column = names.index(expert)
                    axes.add_patch(
                        Rectangle(
                            (column + 0.03, row + 0.04),
                            0.94,
                            0.92,
                            facecolor=ACCENT,
                            alpha=0.06 + 0.6 * mean,
                            linewidth=0,
                        )
                    )
                    axes.text(column + 0.5, row + 0.38, _share(mean), ha="center", va="center", fontsize=9)
                    axes.text(
                        column + 0.5,
                        row + 0.74,
                        f"±{_share(deviation)}",
                        ha="center",
                        va="center",
                        fontsize=7,
                    )
            axes.set_xlim(0, len(names))
            axes.set_ylim(len(rows), 0)
            axes.xaxis.tick_top()
            axes.set_xticks(
                [place + 0.5 for place in range(len(names))], names, rotation=35, ha="left", fontsize=8
            )
            axes.set_yticks([place + 0.5 for place in range(len(rows))], [gate["reader"] for gate in rows])
            axes.tick_params(axis="x", pad=1)
            for spine in axes.spines.values():
                spine.set_visible(False)
            figure.text(
                0.08 / wide, (top - 0.28) / high, f"level {level}", color=MUTED, va="center", fontsize=9
            )
            top = bottom

    return drawn(name, (wide, high), draw)


def _spoken_gate(gate: Mapping[str, Any]) -> str:
    shares = ", ".join(
        f"{expert} {mean:.0%}" for expert, mean in zip(gate["experts"], gate["mean"], strict=True)
    )
    return f"Level {gate['level']}, gate of {gate['reader']}: {shares}."


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.0"
