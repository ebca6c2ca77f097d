/* GPM: activity between two samples, on boards that have it. */
#include "fake.h"

#include <stdlib.h>

#ifndef FAKE_MINIMAL

/* What a sample remembers. */
struct nvmlGpmSample_st {
	const struct facts *board;
	int64_t at_ns;
	struct event truth;
};

nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t *support)
{
	ENTER(STATIC);
	NEED(support);
	support->isSupportedDevice = b->gpm;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t *sample)
{
	NEED(sample);
	sample->handle = calloc(1, sizeof *sample->handle);
	return sample->handle ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample)
{
	free(sample.handle);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample)
{
	ENTER(GPM_SAMPLE);
	NEED(sample.handle);
	if (!b->gpm)
		return NVML_ERROR_NOT_SUPPORTED;
	*sample.handle = (struct nvmlGpmSample_st){.board = b, .at_ns = at_ns, .truth = event_at(b, at_ns)};
	return NVML_SUCCESS;
}

static nvmlReturn_t metric(const struct nvmlGpmSample_st *from, const struct nvmlGpmSample_st *to, nvmlGpmMetric_t *m)
{
	enum channel c;
	switch (m->metricId) {
	case NVML_GPM_METRIC_GRAPHICS_UTIL: c = GPU_ACTIVE; break;
	case NVML_GPM_METRIC_SM_UTIL: c = SM_ACTIVE; break;
	case NVML_GPM_METRIC_ANY_TENSOR_UTIL: c = TENSOR_ACTIVE; break;
	case NVML_GPM_METRIC_DRAM_BW_UTIL: c = DRAM_ACTIVE; break;
	default: return NVML_ERROR_NOT_SUPPORTED;
	}
	double seconds = (double)(to->at_ns - from->at_ns) * 1e-9;
	m->value = 100 * ((integral_at(&to->truth, c, to->at_ns) - integral_at(&from->truth, c, from->at_ns)) / seconds);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t *get)
{
	const int64_t shortest_ns = 100000000; /* shorter intervals are invalid; here they fail, to be noticed */
	NEED(get);
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	const struct nvmlGpmSample_st *from = get->sample1.handle, *to = get->sample2.handle;
	NEED(from);
	NEED(to);
	if (get->version != NVML_GPM_METRICS_GET_VERSION)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	if (from->board == NULL || from->board != to->board || to->at_ns - from->at_ns < shortest_ns)
		return NVML_ERROR_INVALID_ARGUMENT;
	nvmlDevice_t device = {(struct nvmlDevice_st *)from->board};
	ENTER(GPM_METRICS);
	for (unsigned int i = 0; i < get->numMetrics; i++)
		get->metrics[i].nvmlReturn = metric(from, to, &get->metrics[i]);
	return NVML_SUCCESS;
}

#endif
