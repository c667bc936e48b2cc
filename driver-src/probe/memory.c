#include "regprobe_internal.h"

/* In front of every allocation, so that outstanding bytes can be told (and 16-byte alignment stays). */
typedef struct _POOL_HEADER_SIZE {
    SIZE_T size;
    SIZE_T reserved[16 / sizeof(SIZE_T) - 1];
} POOL_HEADER_SIZE;

PVOID ProbeAllocate(SIZE_T size)
{
    POOL_HEADER_SIZE *header = ExAllocatePoolWithTag(probe.pool_type, size + sizeof(*header), PROBE_TAG);

    if (header == NULL) {
        return NULL;
    }
    header->size = size;
    InterlockedIncrement(&probe.pool_allocations);
    InterlockedExchangeAdd(&probe.pool_bytes, (LONG)size);
    return header + 1;
}

VOID ProbeFree(PVOID memory)
{
    POOL_HEADER_SIZE *header = (POOL_HEADER_SIZE *)memory - 1;

    InterlockedDecrement(&probe.pool_allocations);
    InterlockedExchangeAdd(&probe.pool_bytes, -(LONG)header->size);
    ExFreePoolWithTag(header, PROBE_TAG);
}

NTSTATUS ProbeCopy(PVOID destination, const VOID *source, SIZE_T length)
{
    NTSTATUS status;

#ifdef _AMD64_
    if (((LONG_PTR)destination & (LONG_PTR)source) < 0) {
        status = seh_copy_system(destination, source, length);
    } else
#endif
    {
        status = seh_copy(destination, source, length);
    }
    if (!NT_SUCCESS(status)) {
        InterlockedIncrement(&probe.faults);
    }
    return status;
}
