"""Simulated servers, methods as processes, and what they cost: /proc, and the fake's own record of who asked it what."""

import json
import os
import re
import signal
import subprocess
import time

import numpy as np

MODEL = "mistralai/Mistral-7B-v0.1"
BOARD = "sim:H200"

# What the fake writes down of each call: sampler/nvml/fake/calls.c.
CALL = np.dtype([("at_ns", "<i8"), ("function", "<u4"), ("field", "<u4")])
CALLS_HEAD = 16
CALLS_ROOM = 8_000_000  # records; the file is sparse
FIELD_VALUES, UTILIZATION_RATES, POWER_USAGE, TOTAL_ENERGY, HANDLE = 1, 2, 9, 10, 13
INSTANT_FIELD = 186

# Sensors, as sampler/sim/layout.go lays them out: 56 bytes each, the first two numbers period and phase in ns.
FACTS_AT, SENSORS_AT, SENSOR_BYTES = 4096, 384, 56
SENSORS = {"power instant": 0, "power average": 1, "energy": 2, "utilization": 3}


class Failed(Exception):
    """A method that did not run, and why."""


def tail(path):
    with open(path, errors="replace") as f:
        lines = [line.strip() for line in f if line.strip()]
    return lines[-1] if lines else "it said nothing"


class Server:
    """tracer sim in a process of its own, with its board in a file for the fake."""

    def __init__(self, tracer, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.boards, self.truth = folder, f"{folder}/boards", f"{folder}/truth.jsonl"
        argv = [tracer, "sim", "--listen", "127.0.0.1:0", "--gpu", BOARD, "--model", MODEL, "--board-file", self.boards, "--truth", self.truth]
        with open(f"{folder}/sim.out", "w") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out)
        deadline = time.monotonic() + 30
        while not (found := re.search(r"at (http://\S+);", read_text(f"{folder}/sim.out"))):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise Failed("tracer sim did not start: " + tail(f"{folder}/sim.out"))
            time.sleep(0.05)
        self.url = found.group(1).removesuffix("/v1") + "/v1"
        with open(self.boards, "rb") as f:
            f.seek(FACTS_AT + SENSORS_AT)
            raw = f.read(SENSOR_BYTES * len(SENSORS))
        self.rhythm = {name: np.frombuffer(raw, "<i8", 2, SENSOR_BYTES * i).tolist() for name, i in SENSORS.items()}

    def close(self):
        self.process.terminate()
        self.process.wait()


class Running:
    """A method at work, in a process group of its own."""

    def __init__(self, env, argv, folder, server):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.calls_path, self.log = folder, folder.rstrip("/") + ".calls", folder.rstrip("/") + ".log"
        with open(self.calls_path, "wb") as f:
            f.truncate(CALLS_HEAD + CALLS_ROOM * CALL.itemsize)
        env = env | {"TRACER_FAKENVML": server.boards, "TRACER_FAKENVML_CALLS": self.calls_path, "MODEL": MODEL}
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(argv(folder, server), env=env, cwd=env["ROOT"], stdout=log, stderr=log, process_group=0)
        self.began = time.monotonic()

    def calls(self):
        with open(self.calls_path, "rb") as f:
            made = int.from_bytes(f.read(8), "little")
            f.seek(CALLS_HEAD)
            calls = np.fromfile(f, CALL, min(made, CALLS_ROOM))
        return calls[calls["at_ns"] > 0]  # one that is being written has no time yet

    def await_readings(self, function, field, marker, timeout=60):
        """Returns when the method reads: its marker file is there, or it has made three readings."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(tail(self.log))
            if marker and os.path.exists(f"{self.folder}/{marker}") or not marker and len(readings(self.calls(), function, field)) >= 3:
                return
            time.sleep(0.1)
        self.kill()
        raise Failed(f"no reading within {timeout} s")

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def end(self, timeout=60):
        """Ends it cleanly and returns the seconds that it took."""
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"it did not end within {timeout} s of SIGTERM") from None
        return time.monotonic() - began

    def forget_calls(self):
        os.unlink(self.calls_path)


def readings(calls, function, field):
    """When the method read the quantity that it lives on."""
    return calls["at_ns"][(calls["function"] == function) & (calls["field"] == field)]


def stat(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()


def group(pgid):
    """The processes of a group, and those that they started in a group of their own."""
    parents, members = {}, set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                s = stat(name)
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(name)] = int(s[1])
            if int(s[2]) == pgid:
                members.add(int(name))
    grown = True
    while grown:
        more = {p for p, parent in parents.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return members


def cpu_s(pids):
    """CPU time of living processes, to the ns, and of the children that they have waited for, to a tick."""
    total = 0.0
    for pid in pids:
        try:
            s = stat(pid)
            total += time.clock_gettime((~pid << 3) | 2) + (int(s[13]) + int(s[14])) / os.sysconf("SC_CLK_TCK")
        except (FileNotFoundError, ProcessLookupError, OSError):
            continue
    return total


def peak_mib(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1024


def updates_seen(at_ns, rhythm, from_ns, to_ns):
    """The share of a sensor's updates between two instants whose value somebody read before the next came."""
    period, phase = rhythm
    first, last = (from_ns - phase) // period + 1, (to_ns - phase) // period - 1  # whole ones
    seen = np.unique((at_ns - phase) // period)
    return float(np.count_nonzero((seen >= first) & (seen <= last))) / max(1, last - first + 1)


def folder_bytes(folder, skip=()):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files if not any(s in os.path.join(d, f) for s in skip))


def lines(path):
    try:
        with open(path, "rb") as f:
            return f.read().count(b"\n")
    except FileNotFoundError:
        return 0


def read_json(path):
    with open(path) as f:
        return json.load(f)


def read_text(path):
    with open(path) as f:
        return f.read()


def read_jsonl(path):
    with open(path) as f:
        return [json.loads(line) for line in f if line.strip()]
