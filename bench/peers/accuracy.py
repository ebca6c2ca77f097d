"""All methods at once, each client on a board and a server of its own: labels, energies, bytes, and when the table is there."""

import json
import os
import subprocess
import threading
import time

import harness as h
import numpy as np
import pandas as pd
import truth as t

SIZES = (10, 100, 1000, 10000)
REPETITIONS = {10: 10, 100: 10, 1000: 10, 10000: 1}
POLLERS = ("smi-loop", "pynvml", "zeus-power-50ms", "nvitop-100ms", "aiperf", "aiperf-10ms")
CLIENTS = ("zeus-windows", "codecarbon", "atlarge")
WORDS = ["river", "stone", "cloud", "ember", "willow", "harbor", "lantern", "meadow", "copper", "thistle"]


def load(seed):
    """The same sizes and repetitions as tracer's, in an order of the seed's own, with pauses as tracer makes them."""
    rng = np.random.default_rng(seed)
    requests = []
    for size in SIZES:
        for i in range(REPETITIONS[size]):
            words = ["Number", str(i), "of", str(size)] + [WORDS[k] for k in rng.integers(len(WORDS), size=max(0, size - 4))]
            requests.append({"workload": "prefill", "size": size, "prompt": " ".join(words[:size]), "max_tokens": 1})
            words = ["Generate", "a", str(size), "word", "story", "about", WORDS[int(rng.integers(len(WORDS)))], "and", "number", str(i)]
            requests.append({"workload": "decode", "size": size, "prompt": " ".join(words), "max_tokens": size})
    requests = [requests[k] for k in rng.permutation(len(requests))]
    return [r | {"id": f"{seed}-{n}", "pause_s": float(rng.uniform(0.1, 0.3))} for n, r in enumerate(requests)]


def run_tracer(tracer, env, folder, server, seed):
    """The short sizes, then the long one; returns the seconds from the last reply to the program's end, of both runs."""
    waits = []
    for run, sizes in (("short", SIZES[:-1]), ("long", SIZES[-1:])):
        argv = [tracer, "collect", "--endpoint", server.url, "--out", folder, "--run-id", run, "--calibrate", "off", "--idle", "1s", "--seed", str(seed)]
        argv += ["--sizes", ",".join(map(str, sizes)), "--prompts", str(REPETITIONS[sizes[0]])]
        done = subprocess.run(argv, check=False, env=env | {"TRACER_FAKENVML": server.boards}, capture_output=True, text=True)
        ended = time.monotonic_ns()
        if done.returncode != 0:
            raise h.Failed((done.stderr or done.stdout).strip().splitlines()[-1])
        waits.append((ended - max(r["end_ns"] for r in t.Truth(server.truth).requests.values())) / 1e9)
    return waits


def measure(methods, env, tracer, folder, seed, say):
    by_name = {m.name: m for m in methods}
    servers = {name: h.Server(tracer, f"{folder}/{name}-server") for name in ("pollers", *CLIENTS)}
    offset = time.time_ns() - time.monotonic_ns()
    outcome = {"seed": seed, "energies": [], "labels": {}, "bytes_h": {}, "table_s": {}, "failures": {}, "tracer": {}}
    running, ends = {}, {}
    try:
        for name in POLLERS:
            start(running, by_name[name], env, f"{folder}/{name}", servers["pollers"], outcome)
        for name in CLIENTS:
            with open(f"{servers[name].folder}/load.json", "w") as f:
                json.dump(load(seed), f)
            start(running, by_name[name], env, f"{folder}/{name}", servers[name], outcome, wait=False)
        say(f"seed {seed}: all at once")
        exits = {name: exit_of(running[name]) for name in CLIENTS if name in running}
        waits = run_tracer(tracer, env, f"{folder}/tracer", servers["pollers"], seed)
        outcome["table_s"]["tracer"] = float(np.median(waits))
        for name in CLIENTS:
            if name in running:
                finish_client(running[name], name, exits[name], outcome, ends)
        truth = t.Truth(servers["pollers"].truth)
        if "zeus-power-50ms" in running:
            t.write_spans(f"{folder}/zeus-power-50ms/stages.json", truth, offset)
        for name in POLLERS:
            if name in running:
                finish_poller(running[name], name, outcome)
    finally:
        for r in running.values():
            if r.process.poll() is None:
                r.kill()
            r.forget_calls()
        for s in servers.values():
            s.close()
            os.unlink(s.boards)
    judge(outcome, folder, truth, servers, offset, ends)
    return outcome


def start(running, method, env, folder, server, outcome, wait=True):
    for attempt in range(3):
        r = h.Running(env, method.argv, f"{folder}", server)
        try:
            if wait:
                r.await_readings(method.function, method.field, method.marker)
            running[method.name] = r
            return
        except h.Failed as e:
            r.kill()
            outcome["failures"][method.name] = str(e)
    return


def exit_of(r):
    """Waits for a client in a thread, which notes when it ended."""
    found = {}

    def wait():
        r.process.wait()
        found["ns"] = time.monotonic_ns()

    found["thread"] = threading.Thread(target=wait, daemon=True)
    found["thread"].start()
    return found


def finish_client(r, name, found, outcome, ends):
    found["thread"].join(240)
    if "ns" not in found:
        outcome["failures"][name] = "it did not end within four minutes of tracer"
    elif r.process.returncode != 0:
        outcome["failures"][name] = h.tail(r.log)
    else:
        ends[name] = found["ns"]


def finish_poller(r, name, outcome):
    seconds = time.monotonic() - r.began
    try:
        outcome["table_s"][name] = r.end()
    except h.Failed as e:
        outcome["failures"][name] = str(e)
        return
    outcome["failures"].pop(name, None)
    outcome["bytes_h"][name] = h.folder_bytes(r.folder, ("stages.json", "energies.json", "ready")) * 3600 / seconds


def judge(outcome, folder, truth, servers, offset, ends):
    requests = pd.read_parquet(f"{folder}/tracer/requests")
    requests = requests[~requests["warmup"]]
    kinds = {r.request_id: (r.workload, int(r.target_tokens)) for r in requests.itertuples() if r.request_id in truth.requests}
    add_tracer(outcome, requests, kinds, truth)
    failed = outcome["failures"]
    if "smi-loop" not in failed:
        instant, usage = t.smi_series(f"{folder}/smi-loop", offset)
        add(outcome, "smi-loop", kinds, truth, instant.joules)
        add(outcome, "smi-loop-draw", kinds, truth, usage.joules)
    if "pynvml" not in failed:
        instant, usage = t.pynvml_series(f"{folder}/pynvml", offset)
        add(outcome, "pynvml", kinds, truth, instant.joules)
        add(outcome, "pynvml-usage", kinds, truth, usage.joules)
    if "nvitop-100ms" not in failed:
        add(outcome, "nvitop-100ms", kinds, truth, t.nvitop_counter(f"{folder}/nvitop-100ms", offset).joules)
    for name in ("aiperf", "aiperf-10ms"):
        if name not in failed:
            add(outcome, name, kinds, truth, t.aiperf_counter(f"{folder}/{name}", offset).joules)
    if "zeus-power-50ms" not in failed:
        joules = dict(zip([(a, b) for _, _, a, b in t.spans(truth)], h.read_json(f"{folder}/zeus-power-50ms/energies.json")))
        add(outcome, "zeus-power-50ms", kinds, truth, lambda a, b: joules[a, b] or 0.0)
    for name in CLIENTS:
        if name in ends:
            judge_client(outcome, name, f"{folder}/{name}", t.Truth(servers[name].truth), h.read_json(f"{servers[name].folder}/load.json"), offset, ends[name])
    outcome["held_up"] = held_up(truth, kinds)
    labels = t.judged_tracer(f"{folder}/tracer", truth)
    outcome["labels"]["tracer"] = labels
    runs = pd.read_parquet(f"{folder}/tracer/runs")
    seconds = float(((runs["end_monotonic_ns"] - runs["start_monotonic_ns"]) / 1e9).sum())
    outcome["bytes_h"]["tracer"] = h.folder_bytes(f"{folder}/tracer") * 3600 / seconds
    outcome["tracer"] = {
        "sampler_cpu_h": float(runs["sampler_cpu_s"].sum() * 3600 / seconds), "lateness50_ms": float(runs["lateness_p50_s"].median() * 1e3),
        "lateness99_ms": float(runs["lateness_p99_s"].max() * 1e3), "bytes_row": h.folder_bytes(f"{folder}/tracer/samples") / labels["rows"],
    }


def judge_client(outcome, name, folder, truth, requests, offset, ended):
    if name == "atlarge":
        outcome["labels"][name] = {"prompt": t.judged_atlarge(folder, truth, offset)}
        files = ("windows.jsonl",)
    else:
        outcome["labels"][name] = {"prompt": 1.0, "both": t.judged_windows(folder, truth)}
        kinds = {r["id"]: (r["workload"], r["size"]) for r in requests}
        rows = h.read_jsonl(f"{folder}/windows.jsonl")
        for which in rows[0]["joules"]:
            stages = {(r["id"], r["stage"]): r["joules"][which] for r in rows}
            for request in {r["id"] for r in rows}:
                stages[request, "request"] = stages[request, "prefill"] + stages.get((request, "decode"), 0.0)
            label = name if which == "default" else f"{name}-{which}"
            for (request, stage), joules in stages.items():
                keep(outcome, label, kinds[request], request, stage, joules, truth)
        files = ("windows.jsonl",)
    last = max(r["end_ns"] for r in truth.requests.values())
    outcome["table_s"][name] = (ended - last) / 1e9
    first = min(r["prefill_start_ns"] for r in truth.requests.values())
    outcome["bytes_h"][name] = h.folder_bytes(folder, files) * 3600e9 / (last - first)


def add_tracer(outcome, requests, kinds, truth):
    for r in requests.itertuples():
        if r.request_id not in kinds:
            continue
        for stage, joules, low, high in (
            ("prefill", r.prefill_energy_j, r.prefill_energy_j_lo, r.prefill_energy_j_hi),
            ("decode", r.decode_energy_j, r.decode_energy_j_lo, r.decode_energy_j_hi),
            ("request", r.energy_j, r.energy_j_lo, r.energy_j_hi),
        ):
            if not pd.isna(joules):
                true, stamped = truth.joules(*truth.stages(r.request_id)[stage]), truth.joules(*stamps(r)[stage])
                held = {"held": bool(low <= true <= high), "held_stamped": bool(low <= stamped <= high)}
                keep(outcome, "tracer", kinds[r.request_id], r.request_id, stage, joules, truth, held)


def stamps(r):
    """The stages of a request between the instants that tracer wrote down: those of its client."""
    a = r.start_monotonic_ns if pd.isna(r.prefill_start_monotonic_ns) else r.prefill_start_monotonic_ns
    b, c = r.first_token_monotonic_ns, r.last_token_monotonic_ns
    return {"prefill": (a, b), "decode": (b, c), "request": (a, c)}


def held_up(truth, kinds):
    """Requests whose prefill took the simulated server much longer than the fastest of the same size: the machine was busy."""
    took = {}
    for request, kind in kinds.items():
        a, b = truth.stages(request)["prefill"]
        took.setdefault(kind, []).append(b - a)
    return {"late": sum(x > 1.25 * min(group) for group in took.values() for x in group), "of": len(kinds)}


def add(outcome, name, kinds, truth, joules):
    for request, kind in kinds.items():
        for stage, (a, b) in truth.stages(request).items():
            keep(outcome, name, kind, request, stage, joules(a, b), truth)


def keep(outcome, name, kind, request, stage, joules, truth, held=None):
    true = truth.joules(*truth.stages(request)[stage])
    if true > 0:
        a, b = truth.stages(request)[stage]
        row = {"s": (b - a) / 1e9, "method": name, "seed": outcome["seed"], "workload": kind[0], "size": kind[1], "stage": stage, "joules": float(joules), "true": true}
        outcome["energies"].append(row | (held or {}))
