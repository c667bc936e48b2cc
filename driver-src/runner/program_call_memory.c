/* Memory of a program's own, which its calls are given as their buffers, and which it can change or take from them. */
#include "program_call.h"

#include <string.h>

static SIZE_T *take_size(CALL *call, SIZE_T size)
{
    SIZE_T *cell = memory_take(&call->memory, sizeof(*cell), 0);

    if (cell != NULL) {
        *cell = size;
    }
    return cell;
}

static void fill(const CALL *call, RESULT *result)
{
    const FIELD_VALUE *data = call_field(call, FIELD_DATA);

    if (NT_IS_SUCCESS(result->status) && data->size != 0) {
        memcpy(*call->handle, data->bytes, data->size);
    }
}

void prepare_allocate_memory(CALL *call)
{
    SIZE_T length = call_number(call, FIELD_LENGTH), size = call_field(call, FIELD_DATA)->size;

    call->routine = "NtAllocateVirtualMemory";
    call->compose = fill;
    call_pass_pointer(call, GetCurrentProcess());
    call_pass_new_handle(call); /* the address */
    call_pass(call, 0);
    call_pass_pointer(call, take_size(call, length > size ? length : size));
    call_pass(call, MEM_COMMIT | MEM_RESERVE);
    call_pass(call, PAGE_READWRITE);
}

void prepare_write_memory(CALL *call)
{
    const FIELD_VALUE *data = call_field(call, FIELD_DATA);

    call->routine = "NtWriteVirtualMemory";
    call_pass_pointer(call, GetCurrentProcess());
    call_pass(call, (ULONG_PTR)call_handle(call, FIELD_HANDLE) + call_number(call, FIELD_INDEX));
    call_pass_pointer(call, data->bytes);
    call_pass(call, data->size);
    call_pass_pointer(call, take_size(call, 0));
}

void prepare_free_memory(CALL *call)
{
    HANDLE *address = memory_take(&call->memory, sizeof(*address), 0);

    if (address != NULL) {
        *address = call_handle(call, FIELD_HANDLE);
    }
    call->routine = "NtFreeVirtualMemory";
    call_pass_pointer(call, GetCurrentProcess());
    call_pass_pointer(call, address);
    call_pass_pointer(call, take_size(call, 0));
    call_pass(call, MEM_RELEASE);
}
