/*
 * Stands in for nvidia-smi, which is part of NVIDIA's driver and on no registry: one line of CSV from a query of board 0 through
 * the libnvidia-ml that it finds, and with --loop-ms=N one more every N ms, from the same process. It asks what
 *
 *	nvidia-smi --query-gpu=timestamp,power.draw.instant,power.draw,utilization.gpu,utilization.memory --format=csv,noheader,nounits
 *
 * asks, stamps as nvidia-smi does (local time, ms, before the query) and hands every line over at once. The real one does more
 * before its first line, which only flatters the loop of processes here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <nvml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define LOAD(name)                                                                                                     \
	name##_fn = (typeof(name##_fn))dlsym(library, #name);                                                          \
	if (name##_fn == NULL) {                                                                                       \
		fprintf(stderr, "smi: no %s in libnvidia-ml.so.1\n", #name);                                           \
		return 1;                                                                                              \
	}

static nvmlReturn_t (*nvmlInit_v2_fn)(void);
static nvmlReturn_t (*nvmlDeviceGetHandleByIndex_v2_fn)(unsigned int, nvmlDevice_t *);
static nvmlReturn_t (*nvmlDeviceGetFieldValues_fn)(nvmlDevice_t, int, nvmlFieldValue_t *);
static nvmlReturn_t (*nvmlDeviceGetPowerUsage_fn)(nvmlDevice_t, unsigned int *);
static nvmlReturn_t (*nvmlDeviceGetUtilizationRates_fn)(nvmlDevice_t, nvmlUtilization_t *);

static void query(nvmlDevice_t board)
{
	struct timeval now;
	char stamp[32];
	nvmlFieldValue_t instant = {.fieldId = NVML_FI_DEV_POWER_INSTANT};
	unsigned int usage = 0;
	nvmlUtilization_t busy = {0};
	gettimeofday(&now, NULL);
	strftime(stamp, sizeof stamp, "%Y/%m/%d %H:%M:%S", localtime(&now.tv_sec));
	nvmlDeviceGetFieldValues_fn(board, 1, &instant);
	nvmlReturn_t used = nvmlDeviceGetPowerUsage_fn(board, &usage), active = nvmlDeviceGetUtilizationRates_fn(board, &busy);
	printf("%s.%03ld, ", stamp, now.tv_usec / 1000);
	if (instant.nvmlReturn == NVML_SUCCESS)
		printf("%.2f, ", instant.value.uiVal / 1000.0);
	else
		printf("[N/A], ");
	if (used == NVML_SUCCESS)
		printf("%.2f, ", usage / 1000.0);
	else
		printf("[N/A], ");
	if (active == NVML_SUCCESS)
		printf("%u, %u\n", busy.gpu, busy.memory);
	else
		printf("[N/A], [N/A]\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	long loop_ms = argc > 1 && strncmp(argv[1], "--loop-ms=", 10) == 0 ? atol(argv[1] + 10) : 0;
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
	if (library == NULL) {
		fprintf(stderr, "smi: %s\n", dlerror());
		return 1;
	}
	LOAD(nvmlInit_v2)
	LOAD(nvmlDeviceGetHandleByIndex_v2)
	LOAD(nvmlDeviceGetFieldValues)
	LOAD(nvmlDeviceGetPowerUsage)
	LOAD(nvmlDeviceGetUtilizationRates)
	nvmlDevice_t board;
	if (nvmlInit_v2_fn() != NVML_SUCCESS || nvmlDeviceGetHandleByIndex_v2_fn(0, &board) != NVML_SUCCESS) {
		fprintf(stderr, "smi: no board\n");
		return 1;
	}
	query(board);
	while (loop_ms > 0) {
		struct timespec pause = {.tv_sec = loop_ms / 1000, .tv_nsec = loop_ms % 1000 * 1000000};
		nanosleep(&pause, NULL);
		query(board);
	}
	return 0;
}
