/* What time it is, what a call costs, and whether it fails. */
#include "fake.h"

#include <time.h>

static int64_t ns(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t monotonic_ns(void)
{
	return ns(CLOCK_MONOTONIC);
}

int64_t epoch_us(void)
{
	return ns(CLOCK_REALTIME) / 1000;
}

/* Short costs are spun, as a driver's are; long ones, beside which a sleep's lateness is small, are slept. */
void spend(int64_t cost_ns)
{
	const int64_t long_ns = 1000000;
	if (cost_ns <= 0)
		return;
	int64_t end = monotonic_ns() + cost_ns;
	if (cost_ns >= long_ns) {
		struct timespec until = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	}
	while (monotonic_ns() < end)
		;
}

static bool hits(const struct fault *f, uint32_t function, uint32_t field, int32_t scope, int64_t at_ns)
{
	return at_ns >= f->from_ns && (f->to_ns == 0 || at_ns < f->to_ns) &&
	       (f->function == EVERY_FUNCTION || f->function == function) && f->field == field &&
	       (field == 0 || f->scope == -1 || f->scope == scope) &&
	       (f->twist != STALE || opened_ns < f->from_ns);
}

nvmlReturn_t failure(const struct facts *b, uint32_t function, uint32_t field, int32_t scope, int64_t at_ns,
		     int64_t *extra_ns)
{
	nvmlReturn_t code = NVML_SUCCESS;
	uint64_t count = __atomic_load_n(&b->fault_count, __ATOMIC_ACQUIRE);
	for (uint64_t i = 0; i < count; i++) {
		const struct fault *f = &b->faults[i];
		if (!hits(f, function, field, scope, at_ns) || (f->twist != FAILS && f->twist != STALE))
			continue;
		*extra_ns += f->extra_ns;
		if (code == NVML_SUCCESS)
			code = (nvmlReturn_t)f->ret;
	}
	return code;
}

/* What a field shows instead of what it should, and from when on. */
enum twist twisted(const struct facts *b, uint32_t field, int32_t scope, int64_t at_ns, int64_t *from_ns)
{
	uint64_t count = __atomic_load_n(&b->fault_count, __ATOMIC_ACQUIRE);
	for (uint64_t i = 0; i < count; i++) {
		const struct fault *f = &b->faults[i];
		if (!hits(f, FIELD_VALUES, field, scope, at_ns) || f->twist == FAILS || f->twist == STALE)
			continue;
		*from_ns = f->from_ns;
		return (enum twist)f->twist;
	}
	return FAILS;
}

static struct facts *board_of(nvmlDevice_t device)
{
	for (unsigned int i = 0; i < script->boards; i++)
		if ((void *)device.handle == (void *)script_board(i))
			return script_board(i);
	return NULL;
}

nvmlReturn_t enter(nvmlDevice_t device, uint32_t function, struct facts **b, int64_t *at_ns)
{
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	*b = board_of(device);
	if (*b == NULL)
		return NVML_ERROR_INVALID_ARGUMENT;
	*at_ns = monotonic_ns();
	calls_add(function, 0, *at_ns);
	/* Fields are charged one by one. */
	int64_t cost_ns = function == FIELD_VALUES ? 0 : (*b)->call_ns;
	nvmlReturn_t code = failure(*b, function, 0, 0, *at_ns, &cost_ns);
	spend(cost_ns);
	return code;
}
