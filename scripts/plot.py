#!/usr/bin/env python3
"""Draws a few requests of a trace: instant power and utilisation over time, with the stages behind them.

The README's picture:

    python3 -m venv build/plotenv
    build/plotenv/bin/pip install --requirement scripts/requirements.txt
    build/tracer collect --gpu sim:A10 --endpoint sim --sizes 100,1000 --prompts 2 --seed 3 --warmup 0 --out build/picture
    build/plotenv/bin/python scripts/plot.py build/picture docs/images/trace.svg

Seconds count from the first request that was no warm-up. Bands are the labels of the rows; dashed lines are first
tokens, from the table of requests; dots are new values of the power sensor, which rows repeat until the next.
"""

import argparse
import pathlib

import duckdb
import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "tracer",  # the same trace gives the same file
})

import matplotlib.pyplot as plt  # noqa: E402: after the choice of backend

COLOURS = {"idle": "#e9ebee", "prefill": "#f9c98f", "decode": "#c3dcf6", "mixed": "#d9c6e8"}
POWER, GPU, MEMORY, INK = "#1f2a44", "#1b7f4d", "#b0306a", "#333333"
NARROW = 0.05  # bands of less than this share of the width have no room for their names
LEVELS = (1.125, 1.045)  # of the names of requests, in turn, in heights of the axes
PREFIX = "sim-"  # of the name of every simulated board


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dataset", type=pathlib.Path, help="folder that tracer collect wrote into")
    p.add_argument("picture", type=pathlib.Path, help="file to write; the ending names the format")
    p.add_argument("--run", help="run id (default: the last one)")
    p.add_argument("--from", dest="since", type=float, default=-0.8, metavar="S", help="where the picture begins (default: %(default)s)")
    p.add_argument("--to", dest="until", type=float, default=6.2, metavar="S", help="where it ends (default: %(default)s)")
    return p.parse_args()


def read(a):
    """One run's facts, and the rows and requests within the window, of the board with the lowest index."""
    db = duckdb.connect()

    def ask(question, values):
        return db.sql(question, params=values).to_arrow_table().to_pandas()

    for table in ("samples", "requests", "runs"):
        files = str(a.dataset / table / "**" / "*.parquet").replace("'", "''")
        db.execute(f"CREATE VIEW {table} AS FROM read_parquet('{files}', hive_partitioning = true)")
    run = ask("SELECT * FROM runs WHERE $run IS NULL OR run_id = $run ORDER BY start_timestamp DESC, gpu_index LIMIT 1", {"run": a.run})
    if run.empty:
        raise SystemExit(f"{a.dataset} holds no run {a.run or ''}".rstrip())
    run = run.iloc[0]
    zero = ask("SELECT min(start_monotonic_ns) AS ns FROM requests WHERE run_id = $run AND NOT warmup", {"run": run.run_id}).ns[0]
    window = {"run": run.run_id, "zero": int(zero), "since": a.since, "until": a.until}
    rows = ask(
        """SELECT (monotonic_ns - $zero) / 1e9 AS s, inference_stage AS stage, request_id,
                  power_instant_w, power_is_new, gpu_utilization_pct, memory_utilization_pct
           FROM samples WHERE run_id = $run AND gpu_uuid = $board AND s BETWEEN $since AND $until ORDER BY s""",
        {**window, "board": run.gpu_uuid},
    )
    requests = ask(
        """SELECT (start_monotonic_ns - $zero) / 1e9 AS s, (first_token_monotonic_ns - $zero) / 1e9 AS first_token_s,
                  input_tokens, output_tokens
           FROM requests WHERE run_id = $run AND s BETWEEN $since AND $until ORDER BY s""",
        window,
    )
    return run, rows, requests


def bands(rows):
    """Runs of rows with one label: (from, to, stage), edges midway between rows."""
    changed = (rows.stage != rows.stage.shift()) | (rows.request_id.fillna("") != rows.request_id.shift().fillna(""))
    starts = list(rows.index[changed])
    edges = [rows.s.iloc[0]] + [(rows.s[i - 1] + rows.s[i]) / 2 for i in starts[1:]] + [rows.s.iloc[-1]]
    return [(edges[k], edges[k + 1], rows.stage[i]) for k, i in enumerate(starts)]


def shade(power, busy, rows):
    width = rows.s.iloc[-1] - rows.s.iloc[0]
    for since, until, stage in bands(rows):
        for ax in (power, busy):
            ax.axvspan(since, until, color=COLOURS[stage], linewidth=0, zorder=0)
        if until - since >= NARROW * width:
            power.text((since + until) / 2, 6, stage, ha="center", va="bottom", color=INK)


def mark(power, busy, requests):
    """A flag where a request starts, a dashed line at its first token."""
    height = power.get_ylim()[1]
    for i, r in requests.iterrows():
        level = LEVELS[i % len(LEVELS)] * height
        power.plot([r.s, r.s], [0, level], color=INK, linewidth=0.7, clip_on=False)
        power.text(r.s + 0.03, level, f"{r.input_tokens:,.0f} tokens in, {r.output_tokens:,.0f} out", va="center", color=INK)
        busy.axvline(r.s, color=INK, linewidth=0.7)
        for ax in (power, busy):
            ax.axvline(r.first_token_s, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def heading(run):
    title = f"{run.gpu_name.removeprefix(PREFIX)} serving {run.llm_name}"
    if run.gpu_name.startswith(PREFIX):
        title = "SIMULATED " + title
    return title, (f"power read every {1e3 * run.period_planned_s:.0f} ms; the sensor has a new value every "
                   f"{1e3 * run.sensor_period_s:.0f} ms, the mean over the last {1e3 * run.sensor_window_s:.0f} ms")


def draw(run, rows, requests):
    figure, (power, busy) = plt.subplots(2, 1, sharex=True, figsize=(9, 4.9), height_ratios=(2.4, 1), facecolor="white")
    power.step(rows.s, rows.power_instant_w, where="post", color=POWER, linewidth=1.4)
    new = rows[rows.power_is_new.fillna(False).astype(bool)]
    power.plot(new.s, new.power_instant_w, ".", color=POWER, markersize=4.5)
    power.set_ylim(0, 1.15 * max(rows.power_instant_w.max(), 1))
    power.set_ylabel("instant power, W")
    for column, label, colour in (("gpu_utilization_pct", "GPU", GPU), ("memory_utilization_pct", "memory", MEMORY)):
        known = rows.dropna(subset=column)
        busy.step(known.s, known[column], where="post", color=colour, linewidth=1.4, label=label)
    busy.set_ylim(0, 108)
    busy.set_ylabel("utilisation, %")
    busy.set_xlabel("seconds from the first request")
    busy.set_xlim(rows.s.iloc[0], rows.s.iloc[-1])
    shade(power, busy, rows)
    mark(power, busy, requests)
    plain = {"framealpha": 0.85, "edgecolor": "none"}
    power.legend(handles=[
        plt.Line2D([], [], color=POWER, marker=".", linewidth=1.4, label="power, a dot where the sensor has a new value"),
        plt.Line2D([], [], color=INK, linewidth=0.7, label="request sent"),
        plt.Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="first token"),
    ], loc="upper right", bbox_to_anchor=(0.79, 0.98), **plain)
    busy.legend(loc="lower right", ncols=2, bbox_to_anchor=(0.79, 0.02), **plain)
    title, subtitle = heading(run)
    figure.text(0.075, 0.955, title, fontsize=12, fontweight="bold", color=INK)
    figure.text(0.075, 0.915, subtitle, color=INK)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.79, bottom=0.095, hspace=0.09)
    return figure


def main():
    a = arguments()
    run, rows, requests = read(a)
    if rows.empty:
        raise SystemExit(f"run {run.run_id} has no rows from {a.since} to {a.until} s")
    a.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(run, rows, requests).savefig(a.picture, metadata={"Date": None} if a.picture.suffix == ".svg" else None, dpi=110)


if __name__ == "__main__":
    main()
