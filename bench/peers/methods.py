"""The methods that are compared, how each is run, and how what it leaves is read."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import harness as h

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Method:
    name: str
    label: str  # in the page
    setting: str  # whose choice the setting is
    period_s: float | None  # asked for; None: it reads when a window begins or ends, or as fast as it can
    argv: Callable  # of its folder and its server
    function: int  # of libnvidia-ml, that reads the quantity that it lives on
    field: int
    sensor: str  # whose updates that shows
    kept: Callable  # of its folder: rows that a kill left in files
    marker: str = ""  # file that says that it has begun
    client: bool = False  # it sends requests


def poller(name, period=None):
    def argv(folder, _):
        return [sys.executable, f"{HERE}/pollers.py", name, folder] + ([str(period)] if period else [])

    return argv


def client(name):
    def argv(folder, server):
        return [sys.executable, f"{HERE}/clients.py", name, folder, server.url, f"{server.folder}/load.json"]

    return argv


def smi_loop(folder, _):
    """nvidia-smi's own loop, into a file by the shell, as in everybody's scripts."""
    return ["/bin/sh", "-c", f'exec "$SMI" --loop-ms=10 >"{folder}/readings.csv"']


def collect(tracer, *more):
    def argv(folder, server):
        return [tracer, "collect", "--endpoint", server.url, "--out", folder, "--run-id", "cost", "--calibrate", "off", "--idle", "1s", "--sizes", "50,200", "--prompts", "100", *more]

    return argv


def csv_rows(head):
    return lambda folder: max(0, h.lines(f"{folder}/readings.csv") - head)


def recovered(tracer):
    """Rows that tracer recover publishes."""

    def kept(folder):
        import pandas as pd

        subprocess.run([tracer, "recover", "--out", folder], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return len(pd.read_parquet(f"{folder}/samples", columns=["power_instant_w"]).dropna())

    return kept


def all_methods(tracer):
    fields, usage, energy, busy = (h.FIELD_VALUES, h.INSTANT_FIELD), (h.POWER_USAGE, 0), (h.TOTAL_ENERGY, 0), (h.UTILIZATION_RATES, 0)
    return [
        Method("tracer", "**tracer**", "its own (20 ms)", 0.02, collect(tracer), *fields, "power instant", recovered(tracer), client=True),
        Method("tracer-10ms", "**tracer**", "`--period 10ms`", 0.01, collect(tracer, "--period", "10ms"), *fields, "power instant", recovered(tracer), client=True),
        Method("smi-spawn", "`nvidia-smi`, a process a reading", "10 ms", 0.01, poller("smi-spawn", 0.01), *fields, "power instant", csv_rows(0)),
        Method("smi-loop", "`nvidia-smi --loop-ms=10`", "10 ms", 0.01, smi_loop, *fields, "power instant", csv_rows(0)),
        Method("pynvml", "pynvml loop, CSV", "10 ms", 0.01, poller("pynvml", 0.01), *fields, "power instant", csv_rows(0)),
        Method("zeus-power", "Zeus `PowerMonitor`", "its own (it infers the period)", None, poller("zeus-power"), *fields, "power instant", lambda folder: 0, marker="ready"),
        Method("zeus-power-50ms", "Zeus `PowerMonitor`", "50 ms, the fastest that it advises", 0.05, poller("zeus-power", 0.05), *fields, "power instant", lambda folder: 0, marker="ready"),
        Method("zeus-windows", "Zeus `ZeusMonitor`", "its own, `log_file` set", None, client("zeus-windows"), *energy, "energy", lambda folder: max(0, h.lines(f"{folder}/zeus.csv") - 1), client=True),
        Method("nvitop", "nvitop collector", "its own (1 s)", 1.0, poller("nvitop"), *usage, "power average", csv_rows(1)),
        Method("nvitop-100ms", "nvitop collector", "100 ms", 0.1, poller("nvitop", 0.1), *usage, "power average", csv_rows(1)),
        Method("aiperf", "AIPerf telemetry", "its own (333 ms)", 0.333, poller("aiperf"), *energy, "energy", lambda folder: h.lines(f"{folder}/gpu_telemetry_export.jsonl")),
        Method("aiperf-10ms", "AIPerf telemetry", "10 ms, the fastest that it takes", 0.01, poller("aiperf", 0.01), *energy, "energy", lambda folder: h.lines(f"{folder}/gpu_telemetry_export.jsonl")),
        Method("codecarbon", "codecarbon tasks", "its own", None, client("codecarbon"), *energy, "energy", lambda folder: sum(h.lines(f"{folder}/{f}") for f in os.listdir(folder) if f.endswith(".csv")), client=True),
        Method("client", "a client alone, as Zeus's and codecarbon's here", "", None, client("plain"), h.HANDLE, 0, "", lambda folder: 0, marker="ready", client=True),
        Method("atlarge", "AtLarge's method", "its own (100 ms)", 0.1, client("atlarge"), *busy, "utilization", lambda folder: max(0, h.lines(f"{folder}/trace.csv") - 1), client=True),
    ]
