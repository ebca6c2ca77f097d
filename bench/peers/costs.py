"""Each method alone: what it costs, how evenly it reads, what it sees of the sensor, and what a kill leaves of it."""

import json
import os
import time

import harness as h
import numpy as np

WINDOW_S = 5
SETTLE_S = 1
ATTEMPTS = 3  # a busy machine can be too slow for a method's own time limits


def measure(method, env, folder, server, seed):
    for attempt in range(ATTEMPTS):
        try:
            return measure_once(method, env, f"{folder}-{attempt}", server)
        except h.Failed as e:
            failed = e
    raise failed


def measure_once(method, env, folder, server):
    running = h.Running(env, method.argv, folder, server)
    try:
        running.await_readings(method.function, method.field, method.marker)
        time.sleep(SETTLE_S)
        pids = h.group(running.process.pid)
        cpu, from_ns = h.cpu_s(pids), time.monotonic_ns()
        time.sleep(WINDOW_S)
        if running.process.poll() is not None:
            raise h.Failed(h.tail(running.log))
        pids = h.group(running.process.pid)
        cpu, to_ns = h.cpu_s(pids) - cpu, time.monotonic_ns()
        peak = h.peak_mib(pids)
    finally:
        running.kill()
    calls = running.calls()
    running.forget_calls()
    made = len(h.readings(calls[calls["at_ns"] > from_ns - SETTLE_S * 10**9], method.function, method.field)) if method.marker else len(h.readings(calls, method.function, method.field))
    calls = calls[(calls["at_ns"] >= from_ns) & (calls["at_ns"] < to_ns)]
    at = h.readings(calls, method.function, method.field)
    seconds = (to_ns - from_ns) / 1e9
    gaps = np.diff(np.sort(at)) / 1e9
    row = {
        "method": method.name,
        "readings_hz": len(at) / seconds,
        "calls_hz": float(np.count_nonzero(calls["field"] == 0)) / seconds,
        "fresh": h.updates_seen(at, server.rhythm[method.sensor], from_ns, to_ns) if method.sensor else None,
        "cpu_h": 3600 * cpu / seconds,
        "peak_mib": peak,
        "kept": min(1.0, method.kept(folder) / (made / per_row(method))) if made else 0.0,
    }
    if method.period_s and len(gaps):
        off = np.abs(gaps - method.period_s) * 1e3
        row |= {"jitter50_ms": float(np.quantile(off, 0.5)), "jitter99_ms": float(np.quantile(off, 0.99))}
    return row


def per_row(method):
    """Readings of the counter that make a row: ZeusMonitor's two monitors each read at both ends of a window."""
    return 4 if method.name == "zeus-windows" else 2 if method.name == "codecarbon" else 1


def endless(seed):
    """Requests for as long as a window lasts."""
    rng = np.random.default_rng(seed)
    return [
        {"id": f"cost-{seed}-{i}", "workload": "decode", "size": 100, "prompt": " ".join(["Generate", str(i)] + ["river"] * 8), "max_tokens": 100, "pause_s": float(rng.uniform(0.1, 0.3))}
        for i in range(200)
    ]


def all_costs(methods, env, tracer, folder, seed, say):
    """One seed of every method: rows, and what failed."""
    rows, failures = [], {}
    os.makedirs(folder, exist_ok=True)
    for method in methods:
        server = h.Server(tracer, f"{folder}/{method.name}-server")  # its board has no past, and nobody else's requests
        try:
            with open(f"{server.folder}/load.json", "w") as f:
                json.dump(endless(seed), f)
            rows.append(measure(method, env, f"{folder}/{method.name}", server, seed))
            say(f"seed {seed}: {method.name}: {rows[-1]['readings_hz']:.1f} readings/s, {rows[-1]['cpu_h']:.0f} CPU s/h")
        except h.Failed as e:
            failures[method.name] = str(e)
            say(f"seed {seed}: {method.name} failed: {e}")
        finally:
            server.close()
            os.unlink(server.boards)
    return rows, failures
