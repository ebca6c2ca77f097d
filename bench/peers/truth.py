"""What was true: when each request's stages were, and what the board drew; and what methods made of it."""

import bisect
import csv
import json
import time

import harness as h
import numpy as np
import pandas as pd


class Truth:
    """Stages of requests, in ns of CLOCK_MONOTONIC, and the board's energy between instants, in J."""

    def __init__(self, path):
        self.requests = {t["request_id"]: t for t in h.read_jsonl(path) if "first_token_ns" in t and "prefill_start_ns" in t}
        changes = h.read_jsonl(path.removesuffix(".jsonl") + "-power.jsonl")
        self.at = np.array([c["at_ns"] for c in changes])
        self.w = np.array([c["power_w"] for c in changes])
        self.sum = np.concatenate([[0], np.cumsum(self.w[:-1] * np.diff(self.at) / 1e9)])

    def until(self, ns):
        i = bisect.bisect_right(self.at, ns) - 1
        return self.sum[i] + self.w[i] * (ns - self.at[i]) / 1e9

    def joules(self, from_ns, to_ns):
        return float(self.until(to_ns) - self.until(from_ns))

    def stages(self, request):
        """Prefill, decode and the whole of a request."""
        t = self.requests[request]
        a, b, c = t["prefill_start_ns"], t["first_token_ns"], t["end_ns"]
        return {"prefill": (a, b), "decode": (b, c), "request": (a, c)}

    def at_instants(self, ns):
        """Which request and stage the board works for at each of some instants; idle is None."""
        order = sorted(self.requests, key=lambda r: self.requests[r]["prefill_start_ns"])
        starts = [self.requests[r]["prefill_start_ns"] for r in order]
        for at in ns:
            i = bisect.bisect_right(starts, at) - 1
            t = self.requests[order[i]] if i >= 0 else None
            if t is None or at >= t["end_ns"]:
                yield None, "idle"
            else:
                yield order[i], "prefill" if at < t["first_token_ns"] else "decode"


class Series:
    """Readings of power over time: straight lines between them, as who integrates by trapezoids has it."""

    def __init__(self, at_ns, w):
        self.at = np.asarray(at_ns, dtype=float) / 1e9
        self.w = np.asarray(w, dtype=float)
        self.sum = np.concatenate([[0], np.cumsum((self.w[1:] + self.w[:-1]) / 2 * np.diff(self.at))])

    def joules(self, from_ns, to_ns):
        a, b = from_ns / 1e9, to_ns / 1e9
        inner = self.at[(self.at > a) & (self.at < b)]
        at = np.concatenate([[a], inner, [b]])
        w = np.interp(at, self.at, self.w)
        return float(np.sum((w[1:] + w[:-1]) / 2 * np.diff(at)))


class Counter:
    """An energy that grows: interpolated between its readings."""

    def __init__(self, at_ns, joules):
        self.at, self.sum = np.asarray(at_ns, dtype=float) / 1e9, np.asarray(joules, dtype=float)

    def joules(self, from_ns, to_ns):
        return float(np.interp(to_ns / 1e9, self.at, self.sum) - np.interp(from_ns / 1e9, self.at, self.sum))


def smi_stamp(text):
    """nvidia-smi's local time in ns of the epoch."""
    whole, ms = text.rsplit(".", 1)
    return int(time.mktime(time.strptime(whole, "%Y/%m/%d %H:%M:%S"))) * 10**9 + int(ms) * 10**6


def smi_series(folder, offset):
    """power.draw.instant and power.draw."""
    rows = [r for r in csv.reader(h.read_text(f"{folder}/readings.csv").splitlines(), skipinitialspace=True) if len(r) == 5]
    at = [smi_stamp(r[0]) - offset for r in rows]
    return Series(at, [float(r[1]) for r in rows]), Series(at, [float(r[2]) for r in rows])


def pynvml_series(folder, offset):
    rows = np.genfromtxt(f"{folder}/readings.csv", delimiter=",")
    at = rows[:, 0] * 1e9 - offset
    return Series(at, rows[:, 1]), Series(at, rows[:, 2])


def nvitop_counter(folder, offset):
    """Its means are over all the time since it began: times that time they are an energy that grows."""
    t = pd.read_csv(f"{folder}/readings.csv")
    return Counter(t["at"] * 1e9 - offset, t["gpu:0/power_usage (W)/mean"] * t["duration (s)"])


def aiperf_counter(folder, offset):
    rows = h.read_jsonl(f"{folder}/gpu_telemetry_export.jsonl")
    return Counter([r["timestamp_ns"] - offset for r in rows], [r["telemetry_data"]["nvidia_energy_consumption"] * 1e6 for r in rows])


def overlap(a, b):
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))


def judged_windows(folder, truth):
    """The share of the windows' time that lies in the stage that they are named after."""
    inside = whole = 0
    for w in h.read_jsonl(f"{folder}/windows.jsonl"):
        if w["id"] in truth.requests:
            inside += overlap((w["from_ns"], w["to_ns"]), truth.stages(w["id"])[w["stage"]])
            whole += w["to_ns"] - w["from_ns"]
    return inside / whole


def judged_atlarge(folder, truth, offset):
    """The share of the rows of requests whose prompt is the right one."""
    t = pd.read_csv(f"{folder}/trace.csv")
    true = list(truth.at_instants([smi_stamp(s) - offset for s in t["gpu_ts"]]))
    busy = [(request, given) for (request, _), given in zip(true, t["prompt_id"]) if request]
    return sum(request == given for request, given in busy) / len(busy)


def judged_tracer(folder, truth):
    """The shares of the rows of requests whose prompt, and whose prompt and stage, are the right ones; and of all rows."""
    t = pd.read_parquet(f"{folder}/samples", columns=["monotonic_ns", "request_id", "inference_stage"])
    true = list(truth.at_instants(t["monotonic_ns"]))
    rows = [(request, stage, given, t_stage) for (request, stage), given, t_stage in zip(true, t["request_id"], t["inference_stage"].astype(str)) if request]
    prompt = sum(request == given for request, _, given, _ in rows) / len(rows)
    both = sum(request == given and stage == t_stage for request, stage, given, t_stage in rows) / len(rows)
    idle = [(given, s) for (request, _), given, s in zip(true, t["request_id"], t["inference_stage"].astype(str)) if not request]
    return {"prompt": prompt, "both": both, "idle": sum(s == "idle" for _, s in idle) / max(1, len(idle)), "rows": len(t)}


def write_spans(path, truth, offset):
    """All stages in s of the epoch, for Zeus's get_energy, in the order of spans()."""
    with open(path, "w") as f:
        json.dump([[(a + offset) / 1e9, (b + offset) / 1e9] for _, _, a, b in spans(truth)], f)


def spans(truth):
    return [(request, stage, a, b) for request in truth.requests for stage, (a, b) in truth.stages(request).items()]
