/* What stays the same about a board: kind, limits and modes. Much of it is asked for by nvitop, Zeus and pynvml alone. */
#include "fake.h"

#include <string.h>

#ifndef FAKE_MINIMAL

/* Calls that store one fact. */
#define FACT(call, type, value)                                                                                        \
	nvmlReturn_t call(nvmlDevice_t device, type *out)                                                              \
	{                                                                                                              \
		ENTER(STATIC);                                                                                         \
		NEED(out);                                                                                             \
		*out = (type)(value);                                                                                  \
		return NVML_SUCCESS;                                                                                   \
	}

FACT(nvmlDeviceGetArchitecture, nvmlDeviceArchitecture_t, b->architecture)
FACT(nvmlDeviceGetNumGpuCores, unsigned int, b->cores)
FACT(nvmlDeviceGetMinorNumber, unsigned int, b->index)
FACT(nvmlDeviceGetBrand, nvmlBrandType_t, NVML_BRAND_NVIDIA)
FACT(nvmlDeviceGetComputeMode, nvmlComputeMode_t, NVML_COMPUTEMODE_DEFAULT)
FACT(nvmlDeviceGetDisplayMode, nvmlEnableState_t, NVML_FEATURE_DISABLED)
FACT(nvmlDeviceGetDisplayActive, nvmlEnableState_t, NVML_FEATURE_DISABLED)
FACT(nvmlDeviceGetPowerManagementMode, nvmlEnableState_t, NVML_FEATURE_ENABLED)
FACT(nvmlDeviceGetPowerManagementLimit, unsigned int, b->limit_mw)
FACT(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, b->max_limit_mw)
FACT(nvmlDeviceIsMigDeviceHandle, unsigned int, 0)
FACT(nvmlDeviceGetMaxMigDeviceCount, unsigned int, 0)
FACT(nvmlDeviceGetVirtualizationMode, nvmlGpuVirtualizationMode_t, b->virtualized)

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *mw)
{
	ENTER(ENFORCED_POWER_LIMIT);
	NEED(mw);
	*mw = b->limit_mw;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *min_mw, unsigned int *max_mw)
{
	ENTER(STATIC);
	NEED(min_mw);
	NEED(max_mw);
	*min_mw = b->min_limit_mw;
	*max_mw = b->max_limit_mw;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor)
{
	ENTER(STATIC);
	NEED(major);
	NEED(minor);
	*major = (int)b->major;
	*minor = (int)b->minor;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *mhz)
{
	ENTER(STATIC);
	NEED(mhz);
	*mhz = type == NVML_CLOCK_MEM ? b->max_mem_mhz : b->max_sm_mhz;
	return NVML_SUCCESS;
}

static nvmlReturn_t one_clock(unsigned int only, unsigned int *count, unsigned int *mhz)
{
	NEED(count);
	unsigned int room = *count;
	*count = 1;
	if (room < 1 || mhz == NULL)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	*mhz = only;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device, unsigned int *count, unsigned int *mhz)
{
	ENTER(STATIC);
	return one_clock(b->max_mem_mhz, count, mhz);
}

nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(nvmlDevice_t device, unsigned int memory_mhz, unsigned int *count,
						  unsigned int *mhz)
{
	ENTER(STATIC);
	return memory_mhz == b->max_mem_mhz ? one_clock(b->max_sm_mhz, count, mhz) : NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t mode(int32_t scripted, unsigned int *now, unsigned int *after_reset)
{
	NEED(now);
	NEED(after_reset);
	if (scripted < 0)
		return NVML_ERROR_NOT_SUPPORTED;
	*now = *after_reset = (unsigned int)scripted;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t *now, nvmlEnableState_t *after_reset)
{
	ENTER(STATIC);
	return mode(b->ecc, (unsigned int *)now, (unsigned int *)after_reset);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *now, unsigned int *after_reset)
{
	ENTER(STATIC);
	return mode(b->mig, now, after_reset);
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *now)
{
	ENTER(STATIC);
	unsigned int same;
	return mode(b->persistence, (unsigned int *)now, &same);
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter,
					 unsigned long long *errors)
{
	ENTER(STATIC);
	(void)type;
	(void)counter;
	NEED(errors);
	if (b->ecc != 1)
		return NVML_ERROR_NOT_SUPPORTED;
	*errors = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t *bar1)
{
	ENTER(STATIC);
	NEED(bar1);
	bar1->bar1Total = bar1->bar1Free = b->memory_bytes;
	bar1->bar1Used = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, nvmlPcieUtilCounter_t counter, unsigned int *kilobytes)
{
	ENTER(STATIC);
	(void)counter;
	NEED(kilobytes);
	*kilobytes = 0;
	return NVML_SUCCESS;
}

static nvmlReturn_t idle_engine(unsigned int *percent_busy, unsigned int *period_us)
{
	NEED(percent_busy);
	NEED(period_us);
	*percent_busy = 0;
	*period_us = 167000;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int *percent_busy, unsigned int *period_us)
{
	ENTER(STATIC);
	return idle_engine(percent_busy, period_us);
}

nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int *percent_busy, unsigned int *period_us)
{
	ENTER(STATIC);
	return idle_engine(percent_busy, period_us);
}

/* No process runs on a simulated board. */
static nvmlReturn_t none(nvmlDevice_t device, unsigned int *count)
{
	ENTER(STATIC);
	NEED(count);
	*count = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
	(void)infos;
	return none(device, count);
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
	(void)infos;
	return none(device, count);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *infos)
{
	(void)infos;
	return none(device, count);
}

/* Passively cooled, no Grace beside it, no Windows. */
nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int *speed)
{
	ENTER(STATIC);
	(void)speed;
	return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetDriverModel_v2(nvmlDevice_t device, nvmlDriverModel_t *now, nvmlDriverModel_t *after_reset)
{
	ENTER(STATIC);
	(void)now;
	(void)after_reset;
	return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetC2cModeInfoV(nvmlDevice_t device, nvmlC2cModeInfo_v1_t *info)
{
	ENTER(STATIC);
	(void)info;
	return NVML_ERROR_NOT_SUPPORTED;
}

#endif
