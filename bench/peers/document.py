"""Tables of what the seeds showed: medians over the seeds, and between which values they lay."""

import math
import statistics

from costs import WINDOW_S

# What the tables of labels and energies call the methods; "the same" is the line above.
LABELS = {
    "tracer": "**tracer**", "smi-loop": "`nvidia-smi --loop-ms=10`, `power.draw.instant`", "smi-loop-draw": "the same, `power.draw`",
    "pynvml": "pynvml every 10 ms, field 186", "pynvml-usage": "the same, `nvmlDeviceGetPowerUsage`", "zeus-power-50ms": "Zeus `PowerMonitor.get_energy`, 50 ms",
    "zeus-windows": "Zeus `ZeusMonitor`", "zeus-windows-approximate": "the same, `approx_instant_energy`", "nvitop-100ms": "nvitop collector, 100 ms",
    "aiperf": "AIPerf telemetry, 333 ms", "aiperf-10ms": "the same, 10 ms", "codecarbon": "codecarbon tasks", "atlarge": "AtLarge's method",
}
FULL = LABELS | {
    "smi-loop-draw": "`nvidia-smi --loop-ms=10`, `power.draw`", "pynvml-usage": "pynvml, `nvmlDeviceGetPowerUsage`",
    "zeus-windows-approximate": "Zeus `ZeusMonitor`, `approx_instant_energy`", "aiperf-10ms": "AIPerf telemetry, 10 ms",
}
SIZES = (10, 100, 1000, 10000)


def number(v):
    """Two digits that count, and no more than the unit where they are whole."""
    if v == 0:
        return "0"
    if abs(v) >= 10:
        return f"{v:.0f}"
    return f"{v:.1f}" if abs(v) >= 1 else f"{v:.2g}"


def known(values):
    return [v for v in values if v is not None and not math.isnan(v)]


def spread(values, form=number, unit=""):
    values = known(values)
    if not values:
        return "–"
    middle, low, high = form(statistics.median(values)), form(min(values)), form(max(values))
    return middle + unit if low == high else f"{middle}{unit} ({low}–{high})"


def percent(v):
    return number(100 * v)


def table(head, rows):
    return {"head": head, "rows": rows}


class Column:
    """What a table's column says of each method, whether less is better, why tracer may not lead it and what would change that."""

    def __init__(self, title, values, why, less=True, form=number, unit=""):
        self.title, self.values, self.less, self.form, self.unit, self.why = title, values, less, form, unit, why

    def cell(self, method):
        return spread(self.values.get(method, []), self.form, self.unit)

    def behind(self, names):
        """All that are better than tracer at the median, the best first; nothing where tracer leads."""
        medians = {m: statistics.median(v) for m in names if (v := known(self.values.get(m, [])))}
        if "tracer" not in medians:
            return None
        sign = 1 if self.less else -1
        best = min(medians, key=lambda m: sign * medians[m])
        shown = self.form(medians["tracer"])
        if self.form(medians[best]) == shown or sign * medians[best] >= sign * medians["tracer"]:
            return None
        ahead = sorted((m for m, v in medians.items() if sign * v < sign * medians["tracer"] and self.form(v) != shown), key=lambda m: sign * medians[m])
        return [self.title, f"{shown}{self.unit}", "; ".join(f"{names[m]}: {self.form(medians[m])}{self.unit}" for m in ahead), self.why]


def gathered(rows, key):
    values = {}
    for r in rows:
        if r.get(key) is not None:
            values.setdefault(r["method"], []).append(r[key])
    return values


def with_requests(rows, senders):
    """CPU time with that of a client beside those that send no requests."""
    client = {r["seed"]: r["cpu_h"] for r in rows if r["method"] == "client"}
    values = {}
    for r in rows:
        if r["method"] in senders:
            values.setdefault(r["method"], []).append(r["cpu_h"])
        elif r["seed"] in client:
            values.setdefault(r["method"], []).append(r["cpu_h"] + client[r["seed"]])
    return values


def cost_columns(rows, senders):
    return [
        Column("readings/s", gathered(rows, "readings_hz"), less=False, why="it asks for 50 a second by choice: the sensor has ten new values in that time, and the energies below do not gain by more; `--period 10ms` reads as often as the others. Where a busy machine makes calls slow, its governor reads less often still, so that they stay under 0.5 % of the time"),
        Column("sensor updates seen", gathered(rows, "fresh"), less=False, form=percent, unit=" %", why="on a busy machine a reading can come after the next update; an idle core, or a shorter `--period`, would change it"),
        Column("NVML calls/s", gathered(rows, "calls_hz"), why="it reads power, counter, utilisation, clocks, temperature, memory and GPM, each at its sensor's own rate; those below it ask for one quantity, or seldom. Fewer calls would mean fewer columns"),
        Column("CPU s per board-hour", gathered(rows, "cpu_h"), why="its process also sends the requests, takes every streamed token, and keeps journal and Parquet, which a poller leaves to others: see the next column. The sampler by itself, which is in the text below, would be among the first here"),
        Column("the same, requests included", with_requests(rows, senders), why="who reads seldom, reads one quantity, or takes answers whole has less to do; tracer stamps every token, keeps 35 columns and writes them down twice, in journal and Parquet. A longer `--period` lowers its sampling's share, which is the small one"),
        Column("peak memory, MiB", gathered(rows, "peak_mib"), why="one binary with Arrow, DuckDB and the tokenizers in it, and readings of seconds in memory for the fit, against a program of C that holds a line. A sampler in a process of its own would be small; the run would not"),
        Column("jitter, ms, median", gathered(rows, "jitter50_ms"), why="tracer moves its readings to and fro on purpose, so that they do not meet the sensor at the same phase for ever, and stamps every one: a steady beat would look better here and tell less; and a rate that its governor has lowered counts here as jitter of the one planned first"),
        Column("jitter, ms, 99 %", gathered(rows, "jitter99_ms"), why="the same swing and governor; and its threads share their cores with a client and a server, a poller's with nothing. The real-time priority that it takes where it may, and an idle core, would change it"),
        Column("left after `kill -9`", gathered(rows, "kept"), less=False, form=percent, unit=" %", why="`tracer recover` leaves out the readings since the oldest request in flight began, since nobody knows their stage; the journal is synced twice a second. A line that is handed to the kernel at once outlives a killed process, and would not outlive the machine; a system call a reading would do as much for the journal"),
    ]


def table_columns(seeds):
    def of(read):
        values = {}
        for s in seeds:
            for method, v in read(s["accuracy"]).items():
                values.setdefault(method, []).append(v)
        return values

    return [
        Column("right prompt", of(lambda a: {m: v["prompt"] for m, v in a["labels"].items()}), less=False, form=lambda v: f"{100 * v:.2f}", unit=" %", why="windows bear the name that their client gave them, and are no rows; stamps of the server's, in place of the client's, would move the rows at the boundaries"),
        Column("right prompt and stage", of(lambda a: {m: v["both"] for m, v in a["labels"].items() if "both" in v}), less=False, form=lambda v: f"{100 * v:.2f}", unit=" %", why="the rows beside a boundary: a token is stamped when it reaches the client; stamps of the server's would change it"),
        Column("MB an hour", of(lambda a: {m: v / 1e6 for m, v in a["bytes_h"].items()}), why="a window is two numbers and a name, and a slow poller writes few rows; neither is a trace. A longer `--period` means fewer rows. Footers of many small parts weigh on a run of a minute more than on one of an hour"),
        Column("table ready after, s", of(lambda a: a["table_s"]), why="at the end tracer labels, fits the power curve, writes, syncs and verifies; the others end with unlabelled lines, which their user has yet to join with a client's log. Fitting while the run goes on would shorten it"),
    ]


def error_columns(rows, stage, workload, of_repetitions):
    """Errors of each size: the median over the requests of a seed, or of the repetitions' sum; then over the seeds."""
    columns = []
    for size in SIZES:
        values = {}
        groups = {}
        for r in rows:
            if r["stage"] == stage and r["workload"] == workload and r["size"] == size:
                groups.setdefault((r["method"], r["seed"]), []).append(r)
        for (method, _), g in groups.items():
            if of_repetitions:
                error = abs(sum(r["joules"] for r in g) / sum(r["true"] for r in g) - 1)
            else:
                error = statistics.median(abs(r["joules"] / r["true"] - 1) for r in g)
            values.setdefault(method, []).append(error)
        lengths = [r["s"] for r in rows if r["stage"] == stage and r["workload"] == workload and r["size"] == size]
        columns.append(Column(f"{size:,} tokens: {length(lengths)}", values, form=percent, unit=" %", why=why_error(lengths, of_repetitions, size == SIZES[-1])))
    return columns


def length(seconds):
    middle = statistics.median(seconds) if seconds else 0.0
    return f"{1e3 * middle:.0f} ms" if middle < 1 else f"{middle:.1f} s"


def why_error(seconds, of_repetitions, one_each):
    """Why another's error may be smaller than tracer's, by how long the stage is."""
    if seconds and statistics.median(seconds) < 0.1:
        why = "the sensor looks at a quarter of the time here, so that it hardly ever saw such a stage alone, and tracer's interval says so; the others' values are of what came before and after, and come near by chance, at this size alone."
        return why + (" More repetitions narrow tracer's; theirs stay where they are" if of_repetitions else " What tracer offers for such stages is the mean of their repetitions, below")
    why = "at this size the stage is longer than many updates, and a simpler way can be as good."
    if one_each:
        return why + " There is one such request a seed: what differs is chance, or what a run of two requests leaves open to a fit; more of them would tell"
    return why + " What differs is chance; more repetitions would tell"


def stated(energies):
    """tracer's energies with an interval, by what they are of."""
    groups = {}
    for r in energies:
        if r["method"] == "tracer" and "held" in r:
            groups.setdefault({"prefill": "prefills", "decode": "decodes", "request": "whole requests"}[r["stage"]], []).append(r)
    return groups


def rows_of(columns, names):
    return [[label] + [c.cell(m) for c in columns] for m, label in names.items() if any(m in c.values for c in columns)]


def of(seeds, methods):
    costs = [r for s in seeds for r in s["costs"]]
    energies = [r for s in seeds for r in s["accuracy"]["energies"]]
    names = {m.name: m.label + (f", {m.setting}" if m.setting else "") for m in methods}
    asked = {m.name: f"{1 / m.period_s:.0f}" if m.period_s else "–" for m in methods}
    cost, kept = cost_columns(costs, {m.name for m in methods if m.client}), table_columns(seeds)
    cost_rows = [[label, asked[m]] + [c.cell(m) for c in cost] for m, label in names.items() if any(m in c.values for c in cost)]
    behind = [b for c in cost for b in [c.behind({m: n for m, n in names.items() if m not in ("client", "tracer-10ms")})] if b]
    behind += [b for c in kept for b in [c.behind(FULL)] if b]
    tables = {}
    for key, stage, workload, together in (
        ("prefill", "prefill", "prefill", False), ("decode", "decode", "decode", False), ("request_prefill", "request", "prefill", False),
        ("request_decode", "request", "decode", False), ("prefill_mean", "prefill", "prefill", True), ("decode_mean", "decode", "decode", True),
    ):
        columns = error_columns(energies, stage, workload, together)
        tables[key] = table(["method"] + [c.title for c in columns], rows_of(columns, LABELS))
        for c in columns:
            if b := c.behind(FULL):
                b[0] = f"{stage} energy, {workload}-oriented, {'repetitions together' if together else 'one by one'}, {c.title}"
                behind.append(b)
    held, stamped = (
        ", ".join(f"{percent(sum(r[key] for r in g) / len(g))} % of {len(g)} {of}" for of, g in stated(energies).items()) for key in ("held", "held_stamped")
    )
    failures = {}
    for s in seeds:
        failures |= s["failures"]
    own = [s["accuracy"]["tracer"] for s in seeds]
    return {
        "section": "Beside the peers", "order": 1, "rows": behind, "seeds": len(seeds), "window_s": WINDOW_S,
        "cost": table(["method", "asked/s"] + [c.title for c in cost], cost_rows),
        "kept": table(["method"] + [c.title for c in kept], rows_of(kept, LABELS)),
        **tables,
        "behind": table(["what", "tracer", "ahead of it, the best first", "why, and what would change it"], behind) | {"text": True} if behind else None,
        "held": held or "none was stated", "stamped": stamped or "none",
        "sampler_cpu": spread([o["sampler_cpu_h"] for o in own]), "late50": spread([o["lateness50_ms"] for o in own]), "late99": spread([o["lateness99_ms"] for o in own]),
        "bytes_row": spread([o["bytes_row"] for o in own]),
        "idle": spread([s["accuracy"]["labels"]["tracer"]["idle"] for s in seeds], lambda v: f"{100 * v:.2f}"),
        "rows_labelled": sum(s["accuracy"]["labels"]["tracer"]["rows"] for s in seeds),
        "late": sum(s["accuracy"]["held_up"]["late"] for s in seeds), "late_of": sum(s["accuracy"]["held_up"]["of"] for s in seeds),
        "versions": seeds[0]["versions"], "failures": [{"method": names.get(m, m), "why": why} for m, why in sorted(failures.items())],
        "load": f"{seeds[0]['load'][0]:.1f} to {seeds[-1]['load'][1]:.1f}", "busy": max(max(s["load"]) for s in seeds) > 3, "highest": f"{max(max(s['load']) for s in seeds):.0f}",
        "nice": seeds[0]["nice"], "raised": seeds[0]["nice"] < 0,
        "minutes": f"{sum(s['minutes'] for s in seeds):.0f}",
    }
