/* What changes while a board works. */
#include "fake.h"

#include <string.h>

#ifndef FAKE_MINIMAL

static nvmlReturn_t power_field(const struct facts *b, enum sensor_id which, int64_t at_ns, nvmlFieldValue_t *v)
{
	if (which == POWER_INSTANT && v->scopeId == NVML_POWER_SCOPE_MEMORY)
		which = POWER_MEMORY;
	else if (v->scopeId >= NVML_POWER_SCOPE_COUNT || !(b->power_scopes >> v->scopeId & 1))
		return NVML_ERROR_NOT_SUPPORTED;
	if (!b->sensors[which].supported)
		return NVML_ERROR_NOT_SUPPORTED;
	v->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
	v->value.uiVal = milliwatts(b, which, at_ns);
	return NVML_SUCCESS;
}

static nvmlReturn_t field(const struct facts *b, int64_t at_ns, nvmlFieldValue_t *v)
{
	switch (v->fieldId) {
	case NVML_FI_DEV_POWER_INSTANT:
		return power_field(b, POWER_INSTANT, at_ns, v);
	case NVML_FI_DEV_POWER_AVERAGE:
		return power_field(b, POWER_AVERAGE, at_ns, v);
	case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
	case NVML_FI_DEV_ENERGY:
		if (!b->sensors[ENERGY_COUNTER].supported)
			return NVML_ERROR_NOT_SUPPORTED;
		v->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
		v->value.ullVal = millijoules(b, at_ns);
		return NVML_SUCCESS;
	case NVML_FI_DEV_MEMORY_TEMP:
		if (!b->memory_temp)
			return NVML_ERROR_NOT_SUPPORTED;
		v->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
		v->value.uiVal = (unsigned int)temperature(b, at_ns) + 8;
		return NVML_SUCCESS;
	default:
		return NVML_ERROR_NOT_SUPPORTED;
	}
}

static nvmlReturn_t shown(const struct facts *b, int64_t at_ns, nvmlFieldValue_t *v)
{
	int64_t from_ns;
	enum twist twist = twisted(b, v->fieldId, (int32_t)v->scopeId, at_ns, &from_ns);
	nvmlReturn_t ret = field(b, twist == FREEZES ? from_ns : at_ns, v);
	if (ret != NVML_SUCCESS)
		return ret;
	if (twist == ZERO)
		v->value.ullVal = 0;
	if (twist == RESTARTS)
		v->value.ullVal -= millijoules(b, from_ns);
	return ret;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values)
{
	ENTER(FIELD_VALUES);
	NEED(values);
	for (int i = 0; i < count; i++) {
		nvmlFieldValue_t *v = &values[i];
		int64_t began_ns = monotonic_ns(), cost_ns = b->call_ns;
		nvmlReturn_t code = failure(b, FIELD_VALUES, v->fieldId, (int32_t)v->scopeId, at_ns, &cost_ns);
		spend(cost_ns);
		calls_add(FIELD_VALUES, v->fieldId, at_ns);
		v->nvmlReturn = code != NVML_SUCCESS ? code : shown(b, at_ns, v);
		v->timestamp = epoch_us(); /* of the query, as with real drivers */
		v->latencyUsec = (monotonic_ns() - began_ns) / 1000;
	}
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *mw)
{
	ENTER(POWER_USAGE);
	NEED(mw);
	/* The 1 s average where there is one, by nvml.h. */
	enum sensor_id which = b->sensors[POWER_AVERAGE].supported ? POWER_AVERAGE : POWER_INSTANT;
	if (!b->sensors[which].supported)
		return NVML_ERROR_NOT_SUPPORTED;
	*mw = milliwatts(b, which, at_ns);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *mj)
{
	ENTER(TOTAL_ENERGY);
	NEED(mj);
	if (!b->sensors[ENERGY_COUNTER].supported)
		return NVML_ERROR_NOT_SUPPORTED;
	*mj = millijoules(b, at_ns);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *u)
{
	ENTER(UTILIZATION_RATES);
	NEED(u);
	if (b->mig == 1 || !b->sensors[GPU_UTILIZATION].supported)
		return NVML_ERROR_NOT_SUPPORTED;
	u->gpu = percent(b, GPU_UTILIZATION, GPU_ACTIVE, at_ns);
	u->memory = percent(b, MEMORY_UTILIZATION, MEM_ACTIVE, at_ns);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *m)
{
	ENTER(MEMORY_INFO);
	NEED(m);
	m->total = b->memory_bytes;
	m->used = (unsigned long long)__atomic_load_n(&b->memory_used_b, __ATOMIC_RELAXED);
	m->free = m->total - m->used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *m)
{
	nvmlMemory_t plain;
	NEED(m);
	nvmlReturn_t ret = nvmlDeviceGetMemoryInfo(device, &plain);
	if (ret != NVML_SUCCESS)
		return ret;
	m->total = plain.total;
	m->reserved = 0;
	m->free = plain.free;
	m->used = plain.used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *mhz)
{
	ENTER(CLOCK_INFO);
	NEED(mhz);
	struct event e = event_at(b, at_ns);
	*mhz = type == NVML_CLOCK_MEM ? e.mem_mhz : e.sm_mhz;
	return NVML_SUCCESS;
}

static nvmlReturn_t thermometer(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, int *celsius)
{
	ENTER(TEMPERATURE);
	if (sensor != NVML_TEMPERATURE_GPU)
		return NVML_ERROR_INVALID_ARGUMENT;
	*celsius = temperature(b, at_ns);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *celsius)
{
	NEED(celsius);
	return thermometer(device, sensor, (int *)celsius);
}

nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_t *t)
{
	NEED(t);
	if (t->version != nvmlTemperature_v1)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	return thermometer(device, t->sensorType, &t->temperature);
}

nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, nvmlPstates_t *state)
{
	ENTER(PERFORMANCE_STATE);
	NEED(state);
	*state = (nvmlPstates_t)event_at(b, at_ns).pstate;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons)
{
	ENTER(CLOCKS_EVENT_REASONS);
	NEED(reasons);
	*reasons = event_at(b, at_ns).throttle;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons)
{
	return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

/* The driver's own buffer: one sample per update of the sensor, oldest first, stamped with the epoch in µs. */
nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type, unsigned long long last_us,
				  nvmlValueType_t *value_type, unsigned int *count, nvmlSample_t *samples)
{
	const unsigned int kept = 120;
	enum sensor_id which = type == NVML_TOTAL_POWER_SAMPLES	   ? POWER_INSTANT
			       : type == NVML_GPU_UTILIZATION_SAMPLES ? GPU_UTILIZATION
								      : MEMORY_UTILIZATION;
	ENTER(EVERY_FUNCTION);
	NEED(value_type);
	NEED(count);
	if (type > NVML_MEMORY_UTILIZATION_SAMPLES || !b->sensors[which].supported)
		return NVML_ERROR_NOT_SUPPORTED;
	*value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
	if (samples == NULL) {
		*count = kept;
		return NVML_SUCCESS;
	}
	int64_t newest, epoch_offset_us = epoch_us() - monotonic_ns() / 1000;
	unsigned int n = 0;
	last_edge(b, which, at_ns, &newest);
	for (unsigned int back = kept; back-- > 0 && n < *count;) {
		int64_t edge = update_at(b, which, newest - back);
		unsigned long long stamp = (unsigned long long)(edge / 1000 + epoch_offset_us);
		if (stamp <= last_us)
			continue;
		samples[n].timeStamp = stamp;
		samples[n].sampleValue.uiVal =
			which == POWER_INSTANT ? milliwatts(b, which, edge)
					       : percent(b, which, which == GPU_UTILIZATION ? GPU_ACTIVE : MEM_ACTIVE, edge);
		n++;
	}
	*count = n;
	return n > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

#endif
