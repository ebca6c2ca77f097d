"""Measures the energy of given stages of a board in the peers' ways, in real time, through libnvidia-ml.

Run by main.go beside it, as `readers.py poll INDEX` or, with the board alone in CUDA_VISIBLE_DEVICES, `readers.py zeus`.
It says {"versions": …} when it is ready, takes one line of JSON with the stages, in ns of CLOCK_MONOTONIC, and when they
are over says what it measured.
"""

import importlib.metadata
import json
import os
import platform
import sys
import time
import warnings

POLL_NS = 10_000_000
SETTLE_NS = 200_000_000  # polled before the first stage, so that a value is held when it begins


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def sleep_until(at):
    """Returns at an instant: sleeping alone is late by some tenths of a millisecond."""
    while (left := at - now()) > 0:
        if left > 500_000:
            time.sleep((left - 300_000) / 1e9)


def say(message):
    print(json.dumps(message), flush=True)


def take_stages():
    return json.loads(sys.stdin.readline())


def cpu_of(pid):
    """CPU seconds that another process has used."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def poll(index):
    """Reads field 186 and nvmlDeviceGetPowerUsage every 10 ms."""
    import pynvml as nv

    nv.nvmlInit()
    board = nv.nvmlDeviceGetHandleByIndex(index)
    say({"versions": {"nvidia-ml-py": importlib.metadata.version("nvidia-ml-py"), "Python": platform.python_version()}})
    stages = take_stages()["stages"]
    at, instant, usage = [], [], []
    due, end, cpu = stages[0][0] - SETTLE_NS, stages[-1][1], time.process_time()
    while due < end:
        time.sleep(max(0, due - now()) / 1e9)
        began = now()
        [value] = nv.nvmlDeviceGetFieldValues(board, [nv.NVML_FI_DEV_POWER_INSTANT])
        if value.nvmlReturn != nv.NVML_SUCCESS:
            sys.exit(f"field 186 of board {index}: NVML code {value.nvmlReturn}")
        watts = nv.nvmlDeviceGetPowerUsage(board) / 1000
        ended = now()
        at.append((began + ended) // 2)
        instant.append(value.value.uiVal / 1000)
        usage.append(watts)
        due += POLL_NS * max(1, (ended - due) // POLL_NS + 1)
    say({"at_ns": at, "instant_w": instant, "usage_w": usage, "cpu_s": time.process_time() - cpu})


class Windows:
    """ZeusMonitor's windows around stages, and the CPU time that it took to begin and end them."""

    def __init__(self, monitor):
        self.monitor, self.joules, self.cpu_s = monitor, {}, 0.0

    def turn(self, ended, begun):
        cpu = time.thread_time()
        for key in ended:
            self.joules[key] = self.monitor.end_window(key, sync_execution=False).gpu_energy[0]
        for key in begun:
            self.monitor.begin_window(key, sync_execution=False)
        self.cpu_s += time.thread_time() - cpu

    def result(self, names):
        return {"joules": [self.joules[n] for n in names], "cpu_s": self.cpu_s}


def zeus():
    from zeus.monitor import PowerMonitor, ZeusMonitor

    warnings.simplefilter("ignore")  # one for each window that is shorter than the counter's period
    counter = Windows(ZeusMonitor(gpu_indices=[0], cpu_indices=[]))
    approximate = Windows(ZeusMonitor(gpu_indices=[0], cpu_indices=[], approx_instant_energy=True))
    power = PowerMonitor(gpu_indices=[0], update_period=POLL_NS / 1e9, power_domains=["device_instant"])
    [poller] = power.processes.values()
    say({"versions": {"Zeus": importlib.metadata.version("zeus")}})
    told = take_stages()
    windows = {f"stage {i}": w for i, w in enumerate(told["stages"])} | {f"request {i}": w for i, w in enumerate(told["requests"])}
    cuts, late, cpu = sorted({t for w in windows.values() for t in w}), [], cpu_of(poller.pid)
    for cut in cuts:
        sleep_until(cut)
        late.append(now() - cut)
        ended = [name for name, (_, to) in windows.items() if to == cut]
        begun = [name for name, (start, _) in windows.items() if start == cut]
        counter.turn(ended, begun)
        approximate.turn(ended, begun)
    polled = cpu_of(poller.pid) - cpu
    epoch = time.time_ns() - now()  # PowerMonitor stamps with time.time()
    joules = [power.get_energy((a + epoch) / 1e9, (b + epoch) / 1e9)[0] for a, b in windows.values()]
    power.stop()
    say({"counter": counter.result(windows), "approximate": approximate.result(windows), "power": {"joules": joules, "cpu_s": polled}, "late_ns": late})


if __name__ == "__main__":
    if sys.argv[1] == "poll":
        poll(int(sys.argv[2]))
    else:
        zeus()
