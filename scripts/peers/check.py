"""Reads simulated boards with pynvml, nvitop and Zeus, prints what each read, and fails where it is not what was simulated.

Run by main.go beside it, which puts the boards behind the fake libnvidia-ml and passes the truth in PEERS_TRUTH.
"""

import importlib.metadata
import json
import os
import statistics
import sys
import time

TRUTH = json.loads(os.environ.get("PEERS_TRUTH", "[]"))
PERIOD_S = 2 * float(os.environ.get("PEERS_HALF_WAVE_S", "1"))
NOISE_W = 1.0  # half width of the simulated sensors' noise is 0.5 W

failures = []


def expect(what, ok, got):
    print(f"  {'ok  ' if ok else 'FAIL'} {what}: {got}")
    if not ok:
        failures.append(what)


def near(got, want, relative):
    return abs(got - want) <= relative * abs(want)


def between(got, truth):
    return truth["low_w"] - NOISE_W <= got <= truth["high_w"] + NOISE_W


def check_pynvml():
    import pynvml as nv

    nv.nvmlInit()
    print(f"pynvml (nvidia-ml-py {importlib.metadata.version('nvidia-ml-py')})")
    print(f"  driver {nv.nvmlSystemGetDriverVersion()}, NVML {nv.nvmlSystemGetNVMLVersion()}, CUDA {nv.nvmlSystemGetCudaDriverVersion()}")
    expect("number of boards", nv.nvmlDeviceGetCount() == len(TRUTH), nv.nvmlDeviceGetCount())
    for i, truth in enumerate(TRUTH):
        h = nv.nvmlDeviceGetHandleByIndex(i)
        expect(f"{i} name", nv.nvmlDeviceGetName(h) == truth["name"], nv.nvmlDeviceGetName(h))
        expect(f"{i} UUID", nv.nvmlDeviceGetUUID(h) == truth["uuid"], nv.nvmlDeviceGetUUID(h))
        expect(f"{i} memory", nv.nvmlDeviceGetMemoryInfo(h).used == truth["memory_used"], nv.nvmlDeviceGetMemoryInfo(h).used)
        expect(f"{i} limit", nv.nvmlDeviceGetEnforcedPowerLimit(h) == truth["limit_w"] * 1000, nv.nvmlDeviceGetEnforcedPowerLimit(h))
        fields = nv.nvmlDeviceGetFieldValues(h, [nv.NVML_FI_DEV_POWER_INSTANT, nv.NVML_FI_DEV_POWER_AVERAGE, nv.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
        instant, average, energy = (f.value for f in fields)
        expect(f"{i} instant power W", between(instant.uiVal / 1000, truth), instant.uiVal / 1000)
        expect(f"{i} average power W", between(average.uiVal / 1000, truth), average.uiVal / 1000)
        expect(f"{i} energy counter mJ", energy.ullVal > 0, energy.ullVal)
        expect(f"{i} PCI", nv.nvmlDeviceGetPciInfo(h).busId.startswith("00000000:"), nv.nvmlDeviceGetPciInfo(h).busId)
        expect(f"{i} temperature °C", 20 <= nv.nvmlDeviceGetTemperatureV(h, nv.NVML_TEMPERATURE_GPU) <= 90, nv.nvmlDeviceGetTemperatureV(h, nv.NVML_TEMPERATURE_GPU))
        expect(f"{i} process list", nv.nvmlDeviceGetComputeRunningProcesses(h) == [], nv.nvmlDeviceGetComputeRunningProcesses(h))
    check_samples(nv, 1)
    check_gpm(nv, 1)
    nv.nvmlShutdown()


def check_samples(nv, i):
    h = nv.nvmlDeviceGetHandleByIndex(i)
    _, samples = nv.nvmlDeviceGetSamples(h, nv.NVML_TOTAL_POWER_SAMPLES, 0)
    gaps = {b.timeStamp - a.timeStamp for a, b in zip(samples, samples[1:])}
    expect(f"{i} buffered power samples", len(samples) > 10 and max(gaps) - min(gaps) <= 1, f"{len(samples)}, {statistics.median(gaps):.0f} µs apart")


def check_gpm(nv, i):
    h = nv.nvmlDeviceGetHandleByIndex(i)
    first, second = nv.nvmlGpmSampleAlloc(), nv.nvmlGpmSampleAlloc()
    nv.nvmlGpmSampleGet(h, first)
    time.sleep(0.3)
    nv.nvmlGpmSampleGet(h, second)
    get = nv.c_nvmlGpmMetricsGet_t()
    get.version = nv.NVML_GPM_METRICS_GET_VERSION
    get.numMetrics = 2
    get.sample1, get.sample2 = first, second
    get.metrics[0].metricId = nv.NVML_GPM_METRIC_SM_UTIL
    get.metrics[1].metricId = nv.NVML_GPM_METRIC_DRAM_BW_UTIL
    nv.nvmlGpmMetricsGet(get)
    sm, dram = get.metrics[0].value, get.metrics[1].value
    expect(f"{i} GPM SM and DRAM %", 0 < sm < 100 and near(dram, 0.92 * 80, 0.01), f"{sm:.1f}, {dram:.1f}")


def check_nvitop():
    import nvitop
    from nvitop import Device, ResourceMetricCollector

    print(f"nvitop {nvitop.__version__}")
    devices = Device.all()
    expect("number of boards", len(devices) == len(TRUTH), len(devices))
    for device, truth in zip(devices, TRUTH):
        s = device.as_snapshot()
        i = device.index
        expect(f"{i} name", s.name == truth["name"], s.name)
        expect(f"{i} power mW", between(s.power_usage / 1000, truth), s.power_usage)
        expect(f"{i} memory used", s.memory_used == truth["memory_used"], s.memory_used_human)
        expect(f"{i} GPU utilisation %", 0 <= s.gpu_utilization <= 100, s.gpu_utilization)
        print(f"       {s.temperature} °C, {s.performance_state}, {s.power_limit} mW, {s.memory_total_human}, MIG {s.mig_mode}")
    with ResourceMetricCollector(devices, interval=0.1)(tag="load") as collector:
        time.sleep(2 * PERIOD_S)
        metrics = collector.collect()
    for i, truth in enumerate(TRUTH):
        key = next(k for k in metrics if f"cuda:{i}" in k or f"gpu:{i}" in k)
        prefix = key[: key.index(f":{i}") + len(f":{i}")]
        mean = metrics.get(f"{prefix}/gpu_utilization (%)/mean")
        expect(f"{i} collector: mean GPU utilisation %", mean is not None and near(mean, truth["busy_pct"], 0.25), mean)


def check_zeus():
    from zeus.device import get_gpus
    from zeus.monitor import PowerMonitor, ZeusMonitor

    print(f"Zeus {importlib.metadata.version('zeus')}")
    gpus = get_gpus()
    for i, truth in enumerate(TRUTH):
        expect(f"{i} name", gpus.get_name(i) == truth["name"], gpus.get_name(i))
        expect(f"{i} instant power mW", between(gpus.get_instant_power_usage(i) / 1000, truth), gpus.get_instant_power_usage(i))

    monitor = ZeusMonitor(gpu_indices=[0, 1], approx_instant_energy=False)
    monitor.begin_window("load", sync_execution=False)
    time.sleep(3 * PERIOD_S)
    window = monitor.end_window("load", sync_execution=False)
    for i, truth in enumerate(TRUTH):
        want = truth["mean_w"] * window.time
        # The counter steps every 100 ms, so each end of the window is up to that late.
        slack = 0.1 * truth["high_w"] / want + 0.02
        expect(f"{i} ZeusMonitor energy J over {window.time:.2f} s", near(window.gpu_energy[i], want, slack), f"{window.gpu_energy[i]:.1f}, true mean {want:.1f}")

    power = PowerMonitor(gpu_indices=[0, 1], update_period=0.02)
    start = time.time()
    time.sleep(3 * PERIOD_S)
    end = time.time()
    for i, truth in enumerate(TRUTH):
        line = power.get_power_timeline("device_instant", gpu_index=i, start_time=start, end_time=end)[i]
        watts = [w for _, w in line]
        expect(f"{i} PowerMonitor", len(watts) > 20 and all(between(w, truth) for w in watts) and max(watts) - min(watts) >= (truth["high_w"] - truth["low_w"]) * 0.98,
               f"{len(watts)} values, {min(watts):.1f} to {max(watts):.1f} W")
    power.stop()


if __name__ == "__main__":
    if not TRUTH:
        sys.exit("run it through main.go beside it: go run ./scripts/peers")
    for check in (check_pynvml, check_nvitop, check_zeus):
        check()
    sys.exit(f"{len(failures)} readings are not what was simulated: {', '.join(failures)}" if failures else 0)
