/* Beginning and end, handles and names: what even the oldest driver has. */
#include "fake.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int init_count;

nvmlReturn_t nvmlInit_v2(void)
{
	pthread_mutex_lock(&init_lock);
	nvmlReturn_t ret = init_count > 0 ? NVML_SUCCESS : script_open();
	if (ret == NVML_SUCCESS)
		init_count++;
	pthread_mutex_unlock(&init_lock);
	return ret;
}

nvmlReturn_t nvmlShutdown(void)
{
	pthread_mutex_lock(&init_lock);
	nvmlReturn_t ret = init_count > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
	if (init_count > 0 && --init_count == 0)
		script_close();
	pthread_mutex_unlock(&init_lock);
	return ret;
}

const char *nvmlErrorString(nvmlReturn_t result)
{
	switch ((int)result) {
	case NVML_SUCCESS: return "Success";
	case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
	case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
	case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
	case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
	case NVML_ERROR_NOT_FOUND: return "Not Found";
	case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
	case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
	case NVML_ERROR_TIMEOUT: return "Timeout";
	case NVML_ERROR_IRQ_ISSUE: return "Interrupt Request Issue";
	case NVML_ERROR_LIBRARY_NOT_FOUND: return "NVML Shared Library Not Found";
	case NVML_ERROR_FUNCTION_NOT_FOUND: return "Function Not Found";
	case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
	case NVML_ERROR_RESET_REQUIRED: return "GPU requires reset";
	case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
	case NVML_ERROR_NO_DATA: return "No data";
	case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
	default: return "Unknown Error";
	}
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
	NEED(count);
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	*count = script->boards;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	NEED(device);
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	if (index >= script->boards)
		return NVML_ERROR_INVALID_ARGUMENT;
	device->handle = (struct nvmlDevice_st *)script_board(index);
	struct facts *b;
	int64_t at_ns;
	return enter(*device, HANDLE, &b, &at_ns);
}

static nvmlReturn_t text(const char *from, char *to, unsigned int length)
{
	NEED(to);
	size_t need = strlen(from) + 1;
	if (length < need)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	memcpy(to, from, need);
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
	ENTER(STATIC);
	return text(b->name, name, length);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
	ENTER(STATIC);
	return text(b->uuid, uuid, length);
}

#ifndef FAKE_MINIMAL

nvmlReturn_t nvmlInit(void)
{
	return nvmlInit_v2();
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
	(void)flags;
	return nvmlInit_v2();
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
	return script ? text(script->driver, version, length) : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
	return script ? text(script->nvml, version, length) : NVML_ERROR_UNINITIALIZED;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
	NEED(version);
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	*version = script->cuda_version;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
	return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlDeviceGetCount(unsigned int *count)
{
	return nvmlDeviceGetCount_v2(count);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device)
{
	return nvmlDeviceGetHandleByIndex_v2(index, device);
}

/* The board whose text at an offset of its facts equals what is asked for. */
static nvmlReturn_t handle_by(size_t offset, const char *wanted, nvmlDevice_t *device)
{
	NEED(wanted);
	if (script == NULL)
		return NVML_ERROR_UNINITIALIZED;
	for (unsigned int i = 0; i < script->boards; i++)
		if (strcmp((const char *)script_board(i) + offset, wanted) == 0)
			return nvmlDeviceGetHandleByIndex_v2(i, device);
	return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
	return handle_by(offsetof(struct facts, uuid), uuid, device);
}

nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device)
{
	return handle_by(offsetof(struct facts, serial), serial, device);
}

nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, nvmlDevice_t *device)
{
	return handle_by(offsetof(struct facts, pci_bus_id), bus_id, device);
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
	ENTER(STATIC);
	NEED(index);
	*index = b->index;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned int length)
{
	ENTER(STATIC);
	return text(b->serial, serial, length);
}

nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version, unsigned int length)
{
	ENTER(STATIC);
	return text(b->vbios, version, length);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
	ENTER(STATIC);
	NEED(pci);
	memset(pci, 0, sizeof *pci);
	if (sscanf(b->pci_bus_id, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) != 3)
		return NVML_ERROR_UNKNOWN;
	pci->pciDeviceId = b->pci_device_id;
	memcpy(pci->busId, b->pci_bus_id, sizeof pci->busId);
	const char *legacy = b->pci_bus_id + 4; /* four digits of the domain, not eight */
	memcpy(pci->busIdLegacy, legacy, sizeof pci->busIdLegacy - 1);
	return NVML_SUCCESS;
}

#endif
