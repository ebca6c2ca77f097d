/* What is true, and what a sensor shows of it: sampler/sim's timeline.go and sensor.go in C, to the bit. */
#include "fake.h"

#include <math.h>
#include <string.h>

#define MARGIN 1024u

struct slot {
	uint64_t words[sizeof(struct event) / sizeof(uint64_t)];
};

static const struct slot *slot_of(const struct facts *b, uint64_t event)
{
	const struct slot *slots = (const struct slot *)((const char *)b + FACTS_BYTES);
	return &slots[event % EVENT_CAPACITY];
}

static int64_t slot_time(const struct slot *s)
{
	return (int64_t)__atomic_load_n(&s->words[0], __ATOMIC_RELAXED);
}

static void slot_load(const struct slot *s, struct event *e)
{
	uint64_t words[sizeof s->words / sizeof s->words[0]];
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		words[i] = __atomic_load_n(&s->words[i], __ATOMIC_RELAXED);
	memcpy(e, words, sizeof words);
}

static uint64_t search(const struct facts *b, int64_t at_ns, uint64_t oldest, uint64_t end)
{
	while (end - oldest > 1) {
		uint64_t mid = oldest + (end - oldest) / 2;
		if (slot_time(slot_of(b, mid)) <= at_ns)
			oldest = mid;
		else
			end = mid;
	}
	return oldest;
}

/* The event in force at an instant. It is looked up again when the writer may have overtaken us meanwhile. */
struct event event_at(const struct facts *b, int64_t at_ns)
{
	struct event e;
	uint64_t oldest, after;
	do {
		uint64_t count = __atomic_load_n(&b->event_count, __ATOMIC_ACQUIRE);
		oldest = count > EVENT_CAPACITY - MARGIN ? count - (EVENT_CAPACITY - MARGIN) : 0;
		slot_load(slot_of(b, search(b, at_ns, oldest, count)), &e);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&b->event_count, __ATOMIC_RELAXED);
	} while (oldest + EVENT_CAPACITY <= after);
	return e;
}

double integral_at(const struct event *e, enum channel c, int64_t at_ns)
{
	return e->integral[c] + e->level[c] * ((double)(at_ns - e->t_ns) * 1e-9);
}

static double mean(const struct facts *b, enum channel c, int64_t from_ns, int64_t to_ns)
{
	struct event to = event_at(b, to_ns);
	if (to_ns <= from_ns)
		return to.level[c];
	struct event from = event_at(b, from_ns);
	return (integral_at(&to, c, to_ns) - integral_at(&from, c, from_ns)) / ((double)(to_ns - from_ns) * 1e-9);
}

static uint64_t splitmix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

int64_t update_at(const struct facts *b, enum sensor_id which, int64_t update)
{
	const struct sensor *s = &b->sensors[which];
	int64_t at = s->phase_ns + update * s->period_ns;
	if (s->jitter_ns > 0) {
		uint64_t x = splitmix(splitmix(~b->seed - (uint64_t)which) ^ (uint64_t)update);
		at += (int64_t)(x % (uint64_t)(2 * s->jitter_ns + 1)) - s->jitter_ns;
	}
	return at;
}

/* The next update may be early, the one that is due late. */
int64_t last_edge(const struct facts *b, enum sensor_id which, int64_t at_ns, int64_t *update)
{
	const struct sensor *s = &b->sensors[which];
	int64_t edge, since = at_ns - s->phase_ns;
	*update = since / s->period_ns - (since % s->period_ns < 0) + 1;
	while ((edge = update_at(b, which, *update)) > at_ns)
		--*update;
	return edge;
}

static double noise(uint64_t seed, enum sensor_id which, int64_t update)
{
	uint64_t x = splitmix(splitmix(seed + (uint64_t)which) ^ (uint64_t)update);
	return ((double)(x >> 32) + (double)(x & 0xffffffffu)) / 4294967296.0 - 1;
}

/* What a power sensor looks at: all of the board, or its memory. */
static double watts_over(const struct facts *b, enum sensor_id which, int64_t from_ns, int64_t to_ns)
{
	const double memory_idle = 0.03, memory_traffic = 0.15;
	if (which != POWER_MEMORY)
		return mean(b, POWER, from_ns, to_ns);
	return ((double)b->limit_mw / 1000) * (memory_idle + memory_traffic * mean(b, MEM_ACTIVE, from_ns, to_ns));
}

unsigned int milliwatts(const struct facts *b, enum sensor_id which, int64_t at_ns)
{
	const struct sensor *s = &b->sensors[which];
	int64_t update, edge = last_edge(b, which, at_ns, &update);
	double watts = watts_over(b, which, edge - s->window_ns, edge) * s->gain + s->noise * noise(b->seed, which, update);
	return (unsigned int)floor((watts > 0 ? watts : 0) * 1000 + 0.5);
}

unsigned long long millijoules(const struct facts *b, int64_t at_ns)
{
	const struct sensor *s = &b->sensors[ENERGY_COUNTER];
	int64_t update, edge = last_edge(b, ENERGY_COUNTER, at_ns, &update);
	struct event e = event_at(b, edge);
	return (unsigned long long)floor(integral_at(&e, POWER, edge) * s->gain * 1000);
}

unsigned int percent(const struct facts *b, enum sensor_id which, enum channel c, int64_t at_ns)
{
	int64_t update, edge = last_edge(b, which, at_ns, &update);
	double share = mean(b, c, edge - b->sensors[which].window_ns, edge);
	share = share < 0 ? 0 : share > 1 ? 1 : share;
	return (unsigned int)floor(share * 100 + 0.5);
}

int temperature(const struct facts *b, int64_t at_ns)
{
	const double ambient_c = 28, per_limit_c = 45, tau_ns = 15e9;
	struct event e = event_at(b, at_ns);
	double settled = ambient_c + per_limit_c * e.level[POWER] * 1000 / (double)b->limit_mw;
	int64_t passed = at_ns > e.t_ns ? at_ns - e.t_ns : 0;
	return (int)(settled + (e.temp_c - settled) * exp(-(double)passed / tau_ns) + 0.5);
}
