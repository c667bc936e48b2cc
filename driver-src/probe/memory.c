#include "regprobe_internal.h"

/* In front of every allocation, so that outstanding bytes can be told (and 16-byte alignment stays). */
typedef union _ALLOCATION {
    struct {
        SIZE_T size;
        ULONG tag;
    };
    UCHAR aligned[16];
} ALLOCATION;

static ALLOCATION *Allocate(SIZE_T size, ULONG tag)
{
    ALLOCATION *header = ExAllocatePoolWithTag(probe.pool_type, size + sizeof(*header), tag);

    if (header != NULL) {
        header->size = size;
        header->tag = tag;
    }
    return header;
}

PVOID ProbeAllocate(SIZE_T size)
{
    ALLOCATION *header = Allocate(size, PROBE_TAG);

    if (header == NULL) {
        return NULL;
    }
    InterlockedIncrement(&probe.pool_allocations);
    InterlockedExchangeAdd(&probe.pool_bytes, (LONG)size);
    return header + 1;
}

PVOID ProbeAllocateKept(SIZE_T size)
{
    ALLOCATION *header = Allocate(size, PROBE_KEPT_TAG);

    return header != NULL ? header + 1 : NULL;
}

VOID ProbeFree(PVOID memory)
{
    ALLOCATION *header = (ALLOCATION *)memory - 1;

    if (header->tag == PROBE_TAG) {
        InterlockedDecrement(&probe.pool_allocations);
        InterlockedExchangeAdd(&probe.pool_bytes, -(LONG)header->size);
    }
    ExFreePoolWithTag(header, header->tag);
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
