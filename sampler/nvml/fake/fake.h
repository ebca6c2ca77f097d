/*
 * A libnvidia-ml.so.1 that shows simulated boards to any program. It maps a script that another process writes, package
 * sampler/sim, and answers every call with what the scripted sensors would show at that instant. Without a script it
 * answers NVML_ERROR_DRIVER_NOT_LOADED: nothing falls back to simulation by itself.
 *
 *	TRACER_FAKENVML=run.script LD_LIBRARY_PATH=build python3 -c 'import pynvml; …'
 *
 * The structs below are sampler/sim/layout.go byte for byte; a test in sampler/nvml compares all offsets.
 */
#ifndef TRACER_FAKE_H
#define TRACER_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* nvml.h is go-nvml's own, so that the compiler checks each prototype; every name in it is exported, all else is not. */
#define NVML_NO_UNVERSIONED_FUNC_DEFS 1
#pragma GCC visibility push(default)
#include <nvml.h>
#pragma GCC visibility pop

#define SCRIPT_ENV "TRACER_FAKENVML"
#define SCRIPT_MAGIC "TRCRNVML"
#define SCRIPT_VERSION 3
#define EVENT_CAPACITY 65536u
#define FACTS_BYTES 8192
#define MAX_FAULTS 64

enum sensor_id { POWER_INSTANT, POWER_AVERAGE, ENERGY_COUNTER, GPU_UTILIZATION, MEMORY_UTILIZATION, POWER_MEMORY, SENSOR_COUNT = 8 };
enum channel { POWER, GPU_ACTIVE, MEM_ACTIVE, SM_ACTIVE, TENSOR_ACTIVE, DRAM_ACTIVE, CHANNEL_COUNT };

enum function {
	EVERY_FUNCTION,
	FIELD_VALUES,
	UTILIZATION_RATES,
	MEMORY_INFO,
	CLOCK_INFO,
	TEMPERATURE,
	PERFORMANCE_STATE,
	CLOCKS_EVENT_REASONS,
	ENFORCED_POWER_LIMIT,
	POWER_USAGE,
	TOTAL_ENERGY,
	GPM_SAMPLE,
	GPM_METRICS,
	HANDLE,
	STATIC,
};

struct header {
	char magic[8];
	uint32_t version;
	uint32_t boards;
	uint64_t boards_at;
	uint64_t board_stride;
	int32_t init_return;
	int32_t cuda_version;
	char driver[80];
	char nvml[80];
	int64_t init_ns;
	int64_t shutdown_ns;
};

struct sensor {
	int64_t period_ns;
	int64_t phase_ns;
	int64_t jitter_ns;
	int64_t window_ns;
	double gain;
	double noise;
	uint64_t supported;
};

enum twist { FAILS, FREEZES, ZERO, RESTARTS, STALE };

struct fault {
	uint32_t function;
	uint32_t field;
	int32_t scope;
	int32_t ret;
	int64_t from_ns;
	int64_t to_ns;
	int64_t extra_ns;
	int64_t twist;
};

struct facts {
	char name[96];
	char uuid[96];
	char pci_bus_id[32];
	char vbios[32];
	char serial[32];
	uint64_t memory_bytes;
	uint64_t seed;
	int64_t call_ns;
	uint32_t index;
	uint32_t architecture;
	uint32_t major, minor;
	uint32_t cores;
	uint32_t limit_mw;
	uint32_t min_limit_mw;
	uint32_t max_limit_mw;
	uint32_t max_sm_mhz;
	uint32_t max_mem_mhz;
	uint32_t pci_device_id;
	uint32_t gpm;
	uint32_t power_scopes;
	uint32_t virtualized;
	int32_t ecc;
	int32_t mig;
	int32_t persistence;
	int32_t memory_temp;
	struct sensor sensors[SENSOR_COUNT];
	struct fault faults[MAX_FAULTS];

	/* Written while we read: see layout.go. */
	uint64_t fault_count;
	int64_t memory_used_b;
	uint64_t event_count;
};

struct event {
	int64_t t_ns;
	double integral[CHANNEL_COUNT];
	double temp_c;
	double level[CHANNEL_COUNT];
	uint32_t sm_mhz;
	uint32_t mem_mhz;
	uint32_t pstate;
	uint32_t throttle;
};

_Static_assert(sizeof(struct header) <= 4096, "the header has one page");
_Static_assert(sizeof(struct facts) <= FACTS_BYTES, "facts end before the events");
_Static_assert(sizeof(struct event) == 128, "events are two cache lines");
_Static_assert(sizeof(struct event) % sizeof(uint64_t) == 0, "events are copied by words");

/* script.c */
extern const struct header *script; /* null before nvmlInit and after the last nvmlShutdown */
extern int64_t opened_ns;           /* of the first nvmlInit since */
nvmlReturn_t script_open(void);
void script_close(void);
struct facts *script_board(unsigned int index);

/* calls.c: what was asked and when, for whoever wants to know. */
void calls_open(void);
void calls_add(uint32_t function, uint32_t field, int64_t at_ns);

/* clock.c: what time it is, what a call costs, and whether it fails. */
int64_t monotonic_ns(void);
int64_t epoch_us(void);
void spend(int64_t ns);
nvmlReturn_t failure(const struct facts *b, uint32_t function, uint32_t field, int32_t scope, int64_t at_ns, int64_t *extra_ns);
enum twist twisted(const struct facts *b, uint32_t field, int32_t scope, int64_t at_ns, int64_t *from_ns);
nvmlReturn_t enter(nvmlDevice_t device, uint32_t function, struct facts **b, int64_t *at_ns);

/* timeline.c: what is true, and what a sensor shows of it. */
struct event event_at(const struct facts *b, int64_t at_ns);
double integral_at(const struct event *e, enum channel c, int64_t at_ns);
unsigned int milliwatts(const struct facts *b, enum sensor_id which, int64_t at_ns);
unsigned long long millijoules(const struct facts *b, int64_t at_ns);
unsigned int percent(const struct facts *b, enum sensor_id which, enum channel c, int64_t at_ns);
int temperature(const struct facts *b, int64_t at_ns);
int64_t last_edge(const struct facts *b, enum sensor_id which, int64_t at_ns, int64_t *update);
int64_t update_at(const struct facts *b, enum sensor_id which, int64_t update);

/* Begins a call about one board: names b and at_ns, and answers for it where it fails. */
#define ENTER(function)                                                                                                \
	struct facts *b;                                                                                               \
	int64_t at_ns;                                                                                                 \
	nvmlReturn_t entered = enter(device, function, &b, &at_ns);                                                    \
	if (entered != NVML_SUCCESS)                                                                                   \
		return entered;                                                                                        \
	(void)b;                                                                                                       \
	(void)at_ns

/* Refuses a null pointer the way NVML does. */
#define NEED(pointer)                                                                                                  \
	if ((pointer) == NULL)                                                                                         \
	return NVML_ERROR_INVALID_ARGUMENT

#endif
