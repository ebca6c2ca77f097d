"""Run by run.sh beside it: `run.py measure SEED` measures every method once and keeps the result, `run.py tell` prints the
document that page.md.tmpl is given, from all that is kept, and draws the plots."""

import glob
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time

import accuracy
import costs
import document
import plots
from harness import read_json
from methods import all_methods

ROOT = os.getcwd()
BUILD = f"{ROOT}/build"
WORK = f"{BUILD}/bench/peers"
PEERS = ("nvidia-ml-py", "zeus", "nvitop", "aiperf", "codecarbon", "requests", "numpy", "pandas")


def say(text):
    print(text, file=sys.stderr, flush=True)


def versions():
    found = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"Python": platform.python_version()}


def measure(seed):
    """One seed, kept as seed-N.json; traces are looked at and deleted."""
    tracer = f"{BUILD}/tracer"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TRACER_", "CODECARBON_", "AIPERF_", "PYTHON"))}
    bin = f"{BUILD}/bench/bin"
    env |= {"LD_LIBRARY_PATH": BUILD, "PATH": f"{bin}:{env['PATH']}", "SMI": f"{bin}/nvidia-smi", "ROOT": ROOT}
    methods, folder = all_methods(tracer), f"{WORK}/{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    began, load = time.monotonic(), os.getloadavg()[0]
    rows, failures = costs.all_costs(methods, env, tracer, f"{folder}/costs", seed, say)
    outcome = accuracy.measure(methods, env, tracer, f"{folder}/accuracy", seed, say)
    kept = {
        "versions": versions(), "costs": [r | {"seed": seed} for r in rows], "accuracy": outcome,
        "failures": {m: why.replace(f"{ROOT}/", "").replace("`", "'") for m, why in (failures | outcome["failures"]).items()},
        "load": [load, os.getloadavg()[0]], "nice": os.getpriority(os.PRIO_PROCESS, 0), "minutes": (time.monotonic() - began) / 60,
    }
    with open(f"{WORK}/seed-{seed}.json", "w") as f:
        json.dump(kept, f)
    shutil.rmtree(folder)


def tell():
    seeds = [read_json(path) for path in sorted(glob.glob(f"{WORK}/seed-*.json"))]
    if not seeds:
        sys.exit("peers: no seed was measured")
    plots.draw(seeds, f"{ROOT}/docs/images")
    json.dump(document.of(seeds, all_methods("")), sys.stdout, indent=1)


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        os.makedirs(WORK, exist_ok=True)
        measure(int(sys.argv[2]))
    else:
        tell()
