/*
 * Who asks how often: where TRACER_FAKENVML_CALLS names a file, every call about a board is written down there, and every
 * field of nvmlDeviceGetFieldValues, by all processes that share the file. The file is made by whoever wants to know, as long
 * as it is to be: a head of 16 bytes, that begins with the number of records made, and records; what no longer fits is counted
 * alone.
 */
#include "fake.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS_ENV "TRACER_FAKENVML_CALLS"

struct record {
	int64_t at_ns;
	uint32_t function; /* enum function */
	uint32_t field;    /* 0: the call itself */
};

struct calls {
	uint64_t made;
	uint64_t unused;
	struct record records[];
};

static struct calls *calls;
static uint64_t room;

/* The file stays mapped until the process ends: threads may be in a call. */
void calls_open(void)
{
	const char *path = getenv(CALLS_ENV);
	if (calls != NULL || path == NULL || *path == '\0')
		return;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	struct stat st;
	if (fstat(fd, &st) == 0 && (size_t)st.st_size >= sizeof *calls) {
		void *mem = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mem != MAP_FAILED) {
			room = ((size_t)st.st_size - sizeof *calls) / sizeof(struct record);
			calls = mem;
		}
	}
	close(fd);
}

void calls_add(uint32_t function, uint32_t field, int64_t at_ns)
{
	if (calls == NULL)
		return;
	uint64_t i = __atomic_fetch_add(&calls->made, 1, __ATOMIC_RELAXED);
	if (i < room)
		calls->records[i] = (struct record){.at_ns = at_ns, .function = function, .field = field};
}
