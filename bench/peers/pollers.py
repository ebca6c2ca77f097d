"""The peers that poll: each reads board 0 through libnvidia-ml until SIGTERM and keeps what it read as its users do.

    python pollers.py METHOD OUT [PERIOD_S]

OUT is a folder. No period is the method's own default. Times in what is kept are of the epoch, as the methods give them.
"""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time


class Stop:
    """SIGTERM ends the method cleanly."""

    def __init__(self):
        self.event = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.event.set())

    def __bool__(self):
        return self.event.is_set()

    def wait(self):
        while not self.event.wait(3600):
            pass


def smi_spawn(out, period, stop):
    """A loop of processes: nvidia-smi once a reading, its line added to a CSV file."""
    with open(os.path.join(out, "readings.csv"), "wb", buffering=0) as f:
        due = time.monotonic()
        while not stop:
            subprocess.run([os.environ["SMI"]], stdout=f, check=True)
            due = max(due + period, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))


def pynvml_poll(out, period, stop):
    """The loop that most Python tools have: power and utilisation into a CSV file."""
    import pynvml as nv

    nv.nvmlInit()
    board = nv.nvmlDeviceGetHandleByIndex(0)
    with open(os.path.join(out, "readings.csv"), "w", newline="") as f:
        rows = csv.writer(f)
        due = time.monotonic()
        while not stop:
            now = time.time()
            [instant] = nv.nvmlDeviceGetFieldValues(board, [nv.NVML_FI_DEV_POWER_INSTANT])
            usage, busy = nv.nvmlDeviceGetPowerUsage(board), nv.nvmlDeviceGetUtilizationRates(board)
            rows.writerow([f"{now:.6f}", instant.value.uiVal / 1000, usage / 1000, busy.gpu, busy.memory])
            due = max(due + period, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))


def zeus_power(out, period, stop):
    """Zeus's PowerMonitor: processes of its own fill a timeline in memory, which is asked when the run is over."""
    from zeus.monitor import PowerMonitor

    monitor = PowerMonitor(gpu_indices=[0], update_period=period)
    open(os.path.join(out, "ready"), "w").close()
    stop.wait()
    with open(os.path.join(out, "timeline.json"), "w") as f:
        json.dump(monitor.get_power_timeline("device_instant", gpu_index=0)[0], f)
    stages = os.path.join(out, "stages.json")  # spans of the epoch, put there before SIGTERM, whose energies are wanted
    if os.path.exists(stages):
        with open(stages) as f:
            spans = json.load(f)
        with open(os.path.join(out, "energies.json"), "w") as f:
            json.dump([(monitor.get_energy(a, b) or {}).get(0) for a, b in spans], f)
    monitor.stop()


def nvitop_collect(out, period, stop):
    """nvitop's ResourceMetricCollector.daemonize, as its documentation has it: a row of means a collection, into a CSV file."""
    from nvitop import Device, ResourceMetricCollector, collect_in_background

    with open(os.path.join(out, "readings.csv"), "w", newline="") as f:
        rows = None

        def on_collect(metrics):
            nonlocal rows
            now = time.time()
            row = {"at": f"{now:.6f}"} | {k.split("/", 1)[1]: v for k, v in metrics.items() if "/host/" not in k}
            if rows is None:
                rows = csv.DictWriter(f, row.keys(), extrasaction="ignore")
                rows.writeheader()
            rows.writerow(row)
            return not stop

        interval = {} if period is None else {"interval": period}
        collector = ResourceMetricCollector(Device.all(), root_pids={1}, **interval)
        collect_in_background(on_collect, collector).join()


def aiperf_collect(out, period, stop):
    """AIPerf's GPU telemetry: its pynvml collector, and its writer of JSON lines with the batch size that AIPerf gives it."""
    from pathlib import Path

    from aiperf.common.environment import Environment
    from aiperf.common.mixins import BufferedJSONLWriterMixin
    from aiperf.common.models.telemetry_models import TelemetryRecord
    from aiperf.gpu_telemetry.pynvml_collector import PyNVMLTelemetryCollector

    class Writer(BufferedJSONLWriterMixin[TelemetryRecord]):
        pass

    async def run():
        writer = Writer(output_file=Path(out) / "gpu_telemetry_export.jsonl", batch_size=Environment.GPU.EXPORT_BATCH_SIZE)
        await writer.initialize()
        await writer.start()

        async def on_records(records, _):
            for record in records:
                await writer.buffered_write(record)

        interval = {} if period is None else {"collection_interval": period}
        collector = PyNVMLTelemetryCollector(record_callback=on_records, **interval)
        await collector.initialize()
        await collector.start()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        await collector.stop()
        await writer.stop()

    asyncio.run(run())


METHODS = {"smi-spawn": smi_spawn, "pynvml": pynvml_poll, "zeus-power": zeus_power, "nvitop": nvitop_collect, "aiperf": aiperf_collect}

if __name__ == "__main__":
    METHODS[sys.argv[1]](sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else None, Stop())
