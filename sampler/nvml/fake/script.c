/* The script: mapped at nvmlInit, let go at the last nvmlShutdown. */
#include "fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

const struct header *script;
int64_t opened_ns;
static size_t script_bytes;

static nvmlReturn_t refuse(const char *path, const char *why)
{
	fprintf(stderr, "fake libnvidia-ml: %s=%s: %s\n", SCRIPT_ENV, path ? path : "", why);
	return NVML_ERROR_DRIVER_NOT_LOADED;
}

static const char *unfit(const struct header *h, size_t bytes)
{
	if (bytes < sizeof *h || memcmp(h->magic, SCRIPT_MAGIC, sizeof h->magic) != 0)
		return "not a script";
	if (h->version != SCRIPT_VERSION)
		return "a script of another version";
	if (h->boards_at + h->boards * h->board_stride > bytes)
		return "a script that was cut short";
	return NULL;
}

nvmlReturn_t script_open(void)
{
	const char *path = getenv(SCRIPT_ENV);
	if (path == NULL || *path == '\0')
		return refuse(path, "no script is named");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return refuse(path, strerror(errno));
	struct stat st;
	void *mem = MAP_FAILED;
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		mem = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mem == MAP_FAILED)
		return refuse(path, "cannot be mapped");
	const char *why = unfit(mem, (size_t)st.st_size);
	if (why == NULL)
		spend(((const struct header *)mem)->init_ns);
	nvmlReturn_t scripted = why ? NVML_SUCCESS : (nvmlReturn_t)((const struct header *)mem)->init_return;
	if (why || scripted != NVML_SUCCESS) {
		munmap(mem, (size_t)st.st_size);
		return why ? refuse(path, why) : scripted;
	}
	calls_open();
	script = mem;
	opened_ns = monotonic_ns();
	script_bytes = (size_t)st.st_size;
	return NVML_SUCCESS;
}

void script_close(void)
{
	spend(script->shutdown_ns);
	munmap((void *)script, script_bytes);
	script = NULL;
}

/* Boards are read-only here; the const is dropped because NVML's handles have none. */
struct facts *script_board(unsigned int index)
{
	return (struct facts *)((char *)script + script->boards_at + index * script->board_stride);
}
