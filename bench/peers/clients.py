"""The peers that send the requests themselves: each asks the server for the prompts of a load, and keeps what it measured.

    python clients.py METHOD OUT URL LOAD.json

LOAD.json is a list of {"id", "workload", "size", "prompt", "max_tokens", "pause_s"}. Times that are kept are of CLOCK_MONOTONIC, in
ns. SIGTERM breaks the load off cleanly.
"""

import csv
import datetime
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

stopped = threading.Event()


def body_of(request, stream):
    return {"model": os.environ["MODEL"], "prompt": request["prompt"], "max_tokens": request["max_tokens"], "min_tokens": request["max_tokens"], "ignore_eos": True, "stream": stream}


def ask_streaming(url, request, on_first):
    """Sends a request, calls on_first when its first token comes, and returns when its last has come."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
    connection.request("POST", parts.path + "/completions", json.dumps(body_of(request, True)), {"Content-Type": "application/json", "X-Request-Id": request["id"]})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"{url}: {response.status} {response.read(300)!r}")
    first = True
    for line in response:
        if first and line.startswith(b"data:") and b'"text"' in line:
            on_first()
            first = False
        if line.startswith(b"data: [DONE]"):
            break
    response.read()
    connection.close()


def each(load):
    for request in load:
        if stopped.wait(request["pause_s"]):
            return
        yield request


def windows(load, url, out, begin, end):
    """Stages as windows: prefill from sending to the first token, decode from there to the last."""
    with open(os.path.join(out, "windows.jsonl"), "w", buffering=1) as f:

        def keep(request, stage, from_ns, to_ns, joules):
            f.write(json.dumps({"id": request["id"], "stage": stage, "from_ns": from_ns, "to_ns": to_ns, "joules": joules}) + "\n")

        for request in each(load):
            state = {"stage": "prefill", "from": time.monotonic_ns(), "late": []}

            def turn(to=None, request=request, state=state):
                now = time.monotonic_ns()
                joules = end(request["id"] + " " + state["stage"])
                if to:
                    begin(request["id"] + " " + to)
                state["late"].append((state["stage"], state["from"], now, joules))
                state["stage"], state["from"] = to, now

            begin(request["id"] + " prefill")
            ask_streaming(url, request, lambda turn=turn: turn("decode"))
            turn()
            for stage in state["late"]:
                keep(request, *stage)


def zeus_windows(load, url, out):
    """ZeusMonitor, by default and with approx_instant_energy, around each stage."""
    import warnings

    from zeus.monitor import ZeusMonitor

    warnings.simplefilter("ignore")  # one for each window that is shorter than the counter's period
    monitors = {
        "default": ZeusMonitor(gpu_indices=[0], cpu_indices=[], log_file=os.path.join(out, "zeus.csv")),
        "approximate": ZeusMonitor(gpu_indices=[0], cpu_indices=[], approx_instant_energy=True),
    }

    def begin(name):
        for m in monitors.values():
            m.begin_window(name, sync_execution=False)

    def end(name):
        return {k: m.end_window(name, sync_execution=False).gpu_energy[0] for k, m in monitors.items()}

    windows(load, url, out, begin, end)


def codecarbon_tasks(load, url, out):
    """codecarbon's tasks around each stage, offline, of the GPU's share alone."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(country_iso_code="NLD", output_dir=out, log_level="error", gpu_ids=[0], allow_multiple_runs=True)
    tracker.start_task("warm-up")
    tracker.stop_task("warm-up")

    def end(name):
        return {"default": tracker.stop_task(name).gpu_energy * 3.6e6}  # kWh

    windows(load, url, out, tracker.start_task, end)
    tracker.stop()


def plain(load, url, out):
    """No monitor: what the requests alone cost."""
    open(os.path.join(out, "ready"), "w").close()
    windows(load, url, out, lambda name: None, lambda name: {})


def atlarge(load, url, out):
    """AtLarge's method, from its description: nvidia-smi every 100 ms with utilisation alone, a reader that gives each row the
    marks of the moment, requests that do not stream, and the marks set when the reply is there."""
    import requests

    marks = {"prompt": None, "in": None, "out": None, "size": None}
    lines = queue.Queue()
    sampler = subprocess.Popen([os.environ["SMI"], "--loop-ms=100"], stdout=subprocess.PIPE, text=True)

    def read():
        for line in sampler.stdout:
            lines.put(line.strip())
        lines.put(None)

    def log():
        with open(os.path.join(out, "trace.csv"), "w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(["gpu_ts", "gpu_util", "mem_util", "logged_at", "prompt_id", "in_toks", "out_toks", "prompt_size"])
            while (line := lines.get()) is not None:
                stamp, _, _, gpu, memory = line.split(", ")
                rows.writerow([stamp, gpu, memory, datetime.datetime.now(datetime.UTC).isoformat(), *marks.values()])

    threads = [threading.Thread(target=read, daemon=True), threading.Thread(target=log, daemon=True)]
    for t in threads:
        t.start()
    for request in each(load):
        reply = requests.post(url + "/completions", json=body_of(request, False), headers={"X-Request-Id": request["id"]}, timeout=300)
        reply.raise_for_status()
        text = reply.json()["choices"][0]["text"]
        marks.update({"prompt": request["id"], "in": len(request["prompt"].split()), "out": len(text.split()), "size": request["size"]})
    sampler.kill()
    for t in threads:
        t.join()


METHODS = {"zeus-windows": zeus_windows, "codecarbon": codecarbon_tasks, "atlarge": atlarge, "plain": plain}

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with open(sys.argv[4]) as f:
        METHODS[sys.argv[1]](json.load(f), sys.argv[3], sys.argv[2])
