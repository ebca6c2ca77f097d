"""The page's plots, as SVG without dates or random names, so that they change when the figures do."""

import statistics

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "tracer", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

import matplotlib.pyplot as plt
from document import SIZES

SHOWN = {
    "tracer": ("tracer", "#c0392b"), "smi-loop": ("nvidia-smi --loop-ms=10", "#2c3e50"), "pynvml-usage": ("pynvml, power usage", "#7f8c8d"),
    "zeus-windows": ("Zeus ZeusMonitor", "#2980b9"), "zeus-power-50ms": ("Zeus PowerMonitor", "#5dade2"), "nvitop-100ms": ("nvitop", "#8e44ad"),
    "aiperf-10ms": ("AIPerf", "#27ae60"), "codecarbon": ("codecarbon", "#d68910"),
}


LEFT = ("tracer", "zeus-windows", "codecarbon", "nvitop", "atlarge", "aiperf-10ms", "smi-spawn")  # labels that would meet others on the right


def draw(seeds, folder):
    prefills(seeds, f"{folder}/bench-prefill.svg")
    cpu(seeds, f"{folder}/bench-cpu.svg")


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def prefills(seeds, path):
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for method, (label, colour) in SHOWN.items():
        points = []
        for size in SIZES:
            errors = [
                abs(r["joules"] / r["true"] - 1) for s in seeds for r in s["accuracy"]["energies"]
                if r["method"] == method and r["stage"] == r["workload"] == "prefill" and r["size"] == size
            ]
            if errors:
                points.append((size, 100 * max(statistics.median(errors), 1e-5)))
        if points:
            axes.plot(*zip(*points), "o-", color=colour, label=label, linewidth=2.4 if method == "tracer" else 1.2, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="tokens of the prompt", ylabel="error of one prefill's energy, %, median")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def cpu(seeds, path):
    rows = [r for s in seeds for r in s["costs"]]
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for method in dict.fromkeys(r["method"] for r in rows if r["method"] != "client"):
        x = statistics.median(r["readings_hz"] for r in rows if r["method"] == method)
        y = statistics.median(r["cpu_h"] for r in rows if r["method"] == method)
        ours = method.startswith("tracer")
        axes.plot(x, y, "o", color="#c0392b" if ours else "#2c3e50", markersize=6)
        left = method in LEFT
        axes.annotate(method, (x, y), xytext=(-6 if left else 6, -3), textcoords="offset points", ha="right" if left else "left", fontsize=8, color="#c0392b" if ours else "#2c3e50")
    axes.set(xscale="log", yscale="log", xlabel="readings a second, achieved", ylabel="CPU s per board-hour")
    axes.margins(x=0.18, y=0.1)
    save(figure, path)
