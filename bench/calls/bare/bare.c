/* The calls that tracer's plan makes, and nothing else: what they cost at full speed, and what they cost when a thread
 * sleeps from slot to slot as a sampler must. Prints one line of JSON.
 *
 *	bare LIBRARY BOARDS TICK_NS UTILIZATION GPM SLOW SECONDS
 *
 * UTILIZATION, GPM and SLOW say how many ticks lie between two readings of that lane; 0 is never. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <nvml.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

enum lane { POWER = 1, UTILIZATION = 2, GPM = 4, SLOW = 8 };

static nvmlReturn_t (*field_values)(nvmlDevice_t, int, nvmlFieldValue_t *);
static nvmlReturn_t (*utilization)(nvmlDevice_t, nvmlUtilization_t *);
static nvmlReturn_t (*clock_info)(nvmlDevice_t, nvmlClockType_t, unsigned int *);
static nvmlReturn_t (*temperature)(nvmlDevice_t, nvmlTemperatureSensors_t, unsigned int *);
static nvmlReturn_t (*pstate)(nvmlDevice_t, nvmlPstates_t *);
static nvmlReturn_t (*memory)(nvmlDevice_t, nvmlMemory_t *);
static nvmlReturn_t (*reasons)(nvmlDevice_t, unsigned long long *);
static nvmlReturn_t (*power_limit)(nvmlDevice_t, unsigned int *);
static nvmlReturn_t (*gpm_get)(nvmlDevice_t, nvmlGpmSample_t);
static nvmlReturn_t (*gpm_metrics)(nvmlGpmMetricsGet_t *);

struct board {
	nvmlDevice_t device;
	nvmlGpmSample_t sample[2];
	int newer, taken;
};

static void *must(void *library, const char *symbol)
{
	void *f = dlsym(library, symbol);
	if (!f) {
		fprintf(stderr, "bare: %s\n", dlerror());
		exit(1);
	}
	return f;
}

static int64_t ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The fields of a reading, as tracer asks for them in one call. */
static void read_fields(struct board *b, int lanes)
{
	static const struct { unsigned int id, scope; int lane; } all[] = {
		{NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_GPU, POWER},
		{NVML_FI_DEV_POWER_AVERAGE, NVML_POWER_SCOPE_GPU, UTILIZATION},
		{NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_MEMORY, POWER},
		{NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0, SLOW},
		{NVML_FI_DEV_MEMORY_TEMP, 0, SLOW},
	};
	static unsigned char off[64][5];
	static nvmlDevice_t seen[64];
	nvmlFieldValue_t values[5];
	int which[5], n = 0, me = 0;
	while (seen[me].handle && seen[me].handle != b->device.handle)
		me++;
	seen[me] = b->device;
	for (int i = 0; i < 5; i++)
		if (lanes & all[i].lane && !off[me][i]) {
			which[n] = i;
			values[n++] = (nvmlFieldValue_t){.fieldId = all[i].id, .scopeId = all[i].scope};
		}
	if (n > 0)
		field_values(b->device, n, values);
	for (int i = 0; i < n; i++)
		if (values[i].nvmlReturn == NVML_ERROR_NOT_SUPPORTED)
			off[me][which[i]] = 1;
}

static nvmlGpmMetricsGet_t metrics;

static void read_gpm(struct board *b)
{
	int older = b->newer;
	gpm_get(b->device, b->sample[!older]);
	b->newer = !older;
	if (!b->taken++)
		return;
	metrics.version = NVML_GPM_METRICS_GET_VERSION;
	metrics.numMetrics = 3;
	metrics.sample1 = b->sample[older];
	metrics.sample2 = b->sample[b->newer];
	metrics.metrics[0].metricId = NVML_GPM_METRIC_SM_UTIL;
	metrics.metrics[1].metricId = NVML_GPM_METRIC_ANY_TENSOR_UTIL;
	metrics.metrics[2].metricId = NVML_GPM_METRIC_DRAM_BW_UTIL;
	gpm_metrics(&metrics);
}

static void read_board(struct board *b, int lanes)
{
	unsigned int word;
	unsigned long long bits;
	nvmlUtilization_t u;
	nvmlMemory_t m;
	nvmlPstates_t p;
	read_fields(b, lanes);
	if (lanes & UTILIZATION)
		utilization(b->device, &u);
	if (lanes & GPM && b->sample[0].handle)
		read_gpm(b);
	if (lanes & SLOW) {
		clock_info(b->device, NVML_CLOCK_SM, &word);
		clock_info(b->device, NVML_CLOCK_MEM, &word);
		temperature(b->device, NVML_TEMPERATURE_GPU, &word);
		pstate(b->device, &p);
		memory(b->device, &m);
		reasons(b->device, &bits);
		power_limit(b->device, &word);
	}
}

/* What a lane's calls cost when they follow each other: the least of five medians would flatter; this is the mean. */
static double alone(struct board *boards, int n, int lanes)
{
	enum { ROUNDS = 2000 };
	int64_t began = ns(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < ROUNDS; i++)
		read_board(&boards[i % n], lanes);
	return (double)(ns(CLOCK_THREAD_CPUTIME_ID) - began) / ROUNDS;
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: bare LIBRARY BOARDS TICK_NS UTILIZATION GPM SLOW SECONDS\n");
		return 2;
	}
	void *library = dlopen(argv[1], RTLD_NOW);
	if (!library) {
		fprintf(stderr, "bare: %s\n", dlerror());
		return 1;
	}
	int n = atoi(argv[2]);
	int64_t tick_ns = atoll(argv[3]);
	int64_t every_utilization = atoll(argv[4]), every_gpm = atoll(argv[5]), every_slow = atoll(argv[6]);
	double seconds = atof(argv[7]);
	nvmlReturn_t (*init)(void) = must(library, "nvmlInit_v2");
	nvmlReturn_t (*by_index)(unsigned int, nvmlDevice_t *) = must(library, "nvmlDeviceGetHandleByIndex_v2");
	nvmlReturn_t (*support)(nvmlDevice_t, nvmlGpmSupport_t *) = must(library, "nvmlGpmQueryDeviceSupport");
	nvmlReturn_t (*sample_alloc)(nvmlGpmSample_t *) = must(library, "nvmlGpmSampleAlloc");
	field_values = must(library, "nvmlDeviceGetFieldValues");
	utilization = must(library, "nvmlDeviceGetUtilizationRates");
	clock_info = must(library, "nvmlDeviceGetClockInfo");
	temperature = must(library, "nvmlDeviceGetTemperature");
	pstate = must(library, "nvmlDeviceGetPerformanceState");
	memory = must(library, "nvmlDeviceGetMemoryInfo");
	reasons = must(library, "nvmlDeviceGetCurrentClocksEventReasons");
	power_limit = must(library, "nvmlDeviceGetEnforcedPowerLimit");
	gpm_get = must(library, "nvmlGpmSampleGet");
	gpm_metrics = must(library, "nvmlGpmMetricsGet");
	if (init() != NVML_SUCCESS || n < 1 || n > 63) {
		fprintf(stderr, "bare: no boards\n");
		return 1;
	}
	struct board *boards = calloc((size_t)n, sizeof *boards);
	for (int i = 0; i < n; i++) {
		nvmlGpmSupport_t s = {.version = NVML_GPM_SUPPORT_VERSION};
		if (by_index((unsigned int)i, &boards[i].device) != NVML_SUCCESS) {
			fprintf(stderr, "bare: no board %d\n", i);
			return 1;
		}
		if (every_gpm && support(boards[i].device, &s) == NVML_SUCCESS && s.isSupportedDevice)
			for (int k = 0; k < 2; k++)
				sample_alloc(&boards[i].sample[k]);
		read_board(&boards[i], POWER | UTILIZATION | SLOW); /* the first call pays for what has to be loaded */
	}
	double power = alone(boards, n, POWER), with_utilization = alone(boards, n, POWER | UTILIZATION) - power;
	double with_slow = alone(boards, n, POWER | SLOW) - power;
	/* GPM refuses intervals under 100 ms: its two calls are timed one by one. */
	double with_gpm = 0;
	for (int i = 0; every_gpm && boards[0].sample[0].handle && i < 5; i++) {
		struct timespec pause = {.tv_nsec = 110000000};
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		int64_t began = ns(CLOCK_THREAD_CPUTIME_ID);
		read_gpm(&boards[0]);
		int64_t took = ns(CLOCK_THREAD_CPUTIME_ID) - began;
		with_gpm = i == 0 || took < with_gpm ? (double)took : with_gpm;
	}
	double each = 1e9 / (double)tick_ns, own = power * each * n;
	if (every_utilization)
		own += with_utilization * each / (double)every_utilization * n;
	if (every_gpm)
		own += with_gpm * each / (double)every_gpm * n;
	if (every_slow)
		own += with_slow * each / (double)every_slow * n;

	/* As the sampler's thread: no timer slack, the lowest real-time priority where it is granted. */
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	struct sched_param urgent = {.sched_priority = 1};
	sched_setscheduler(0, SCHED_FIFO, &urgent);
	int64_t slot = 0, slots = 0, missed = 0, start = ns(CLOCK_MONOTONIC), cpu = ns(CLOCK_PROCESS_CPUTIME_ID);
	int64_t end = start + (int64_t)(seconds * 1e9);
	while (start + (slot + 1) * tick_ns < end) {
		int64_t due = start + ++slot * tick_ns;
		struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		int64_t late = (ns(CLOCK_MONOTONIC) - due) / tick_ns;
		slot += late;
		missed += late;
		slots++;
		int lanes = POWER;
		if (every_utilization && slot % every_utilization == 0)
			lanes |= UTILIZATION;
		if (every_gpm && slot % every_gpm == 0)
			lanes |= GPM;
		if (every_slow && slot % every_slow == 0)
			lanes |= SLOW;
		for (int i = 0; i < n; i++)
			read_board(&boards[i], lanes);
	}
	cpu = ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	double ran = (double)(ns(CLOCK_MONOTONIC) - start) / 1e9;
	printf("{\"power_ns\": %.0f, \"utilization_ns\": %.0f, \"gpm_ns\": %.0f, \"slow_ns\": %.0f, \"calls_cpu\": %.8f, "
	       "\"loop_cpu\": %.8f, \"ticks\": %lld, \"missed\": %lld}\n",
	       power, with_utilization, with_gpm, with_slow, own / 1e9, (double)cpu / 1e9 / ran, (long long)slots, (long long)missed);
	return 0;
}
