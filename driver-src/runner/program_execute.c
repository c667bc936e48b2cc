#include "program_execute.h"

#include <stdlib.h>
#include <string.h>

#include "program_call.h"

#define STATUS_NO_MEMORY_ ((NT_STATUS)0xC0000017)
#define PRIVILEGES 32

typedef ULONG_PTR A;

uint64_t counter_now(void)
{
    LARGE_INTEGER now;

    QueryPerformanceCounter(&now);
    return (uint64_t)now.QuadPart;
}

void handle_close(uint64_t handle)
{
    if (native()->close != NULL) {
        native()->close((HANDLE)(ULONG_PTR)handle);
    }
}

/* Every argument of every call here is a machine word. */
static NT_STATUS invoke(FARPROC routine, const A *a, unsigned count)
{
#define AS(...) ((NT_STATUS(NTAPI *)(__VA_ARGS__))(void *)routine)
    switch (count) {
    case 1:
        return AS(A)(a[0]);
    case 2:
        return AS(A, A)(a[0], a[1]);
    case 3:
        return AS(A, A, A)(a[0], a[1], a[2]);
    case 4:
        return AS(A, A, A, A)(a[0], a[1], a[2], a[3]);
    case 5:
        return AS(A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4]);
    case 6:
        return AS(A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5]);
    case 7:
        return AS(A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
    case 8:
        return AS(A, A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    case 9:
        return AS(A, A, A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]);
    case 10:
        return AS(A, A, A, A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
    case 11:
        return AS(A, A, A, A, A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]);
    case 12:
        return AS(A, A, A, A, A, A, A, A, A, A, A, A)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9],
                                                      a[10], a[11]);
    default:
        return STATUS_NOT_IMPLEMENTED_;
    }
#undef AS
}

/* Privileges are the process's: those that calls in several threads need are enabled until the last has ended. */
static volatile LONG privileges_taken;
static ULONG privilege_users[PRIVILEGES];
static BOOLEAN privilege_before[PRIVILEGES];

static void take_privileges(void)
{
    while (InterlockedExchange(&privileges_taken, 1) != 0) {
        Sleep(0);
    }
}

/* What the account lacks stays lacking: the call says so itself. */
static void enable(ULONG wanted)
{
    ULONG number;

    take_privileges();
    for (number = 0; wanted != 0 && number < PRIVILEGES; number++) {
        if (wanted & 1u << number && privilege_users[number]++ == 0) {
            privilege_before[number] = TRUE;
            if (native()->adjust_privilege == NULL ||
                !NT_IS_SUCCESS(native()->adjust_privilege(number, TRUE, FALSE, &privilege_before[number]))) {
                privilege_before[number] = TRUE; /* nothing to take back */
            }
        }
    }
    InterlockedExchange(&privileges_taken, 0);
}

static void disable(ULONG wanted)
{
    BOOLEAN before;
    ULONG number;

    take_privileges();
    for (number = 0; wanted != 0 && number < PRIVILEGES; number++) {
        if (wanted & 1u << number && --privilege_users[number] == 0 && !privilege_before[number]) {
            native()->adjust_privilege(number, FALSE, FALSE, &before);
        }
    }
    InterlockedExchange(&privileges_taken, 0);
}

/* NTSTATUS_FROM_WIN32 (ntstatus.h) */
static uint32_t from_win32(uint32_t error)
{
    return error == 0 ? 0 : 0xC0070000u | (error & 0xFFFF);
}

/* -- results ----------------------------------------------------------------------------------------------- */

static void take_number(RESULT *result, const ULONG *output, uint32_t *number, uint32_t bit)
{
    if (output != NULL && *output != PROGRAM_UNWRITTEN) {
        *number = *output;
        result->has |= bit;
    }
}

/* A copy of the output. One at an address of the program's is read as another process would, so that a bad one gives
 * nothing. */
static unsigned char *copy_output(const CALL *call)
{
    NT_STATUS(NTAPI * read)(HANDLE, const void *, void *, SIZE_T, SIZE_T *);
    unsigned char *copy = malloc(call->output_size);
    SIZE_T got = 0;

    if (copy == NULL) {
        return NULL;
    }
    if (!call->foreign_output) {
        memcpy(copy, (const void *)call->output_address, call->output_size);
        return copy;
    }
    read = (__typeof__(read))(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtReadVirtualMemory");
    if (read == NULL || !NT_IS_SUCCESS(read(GetCurrentProcess(), (const void *)call->output_address, copy,
                                            call->output_size, &got)) ||
        got != call->output_size) {
        free(copy);
        return NULL;
    }
    return copy;
}

static void take_buffer(const CALL *call, RESULT *result)
{
    size_t size = call->output_size;
    unsigned char *copy;

    if (call->io != NULL) {
        result->result_length = (uint32_t)call->io->information;
        result->has |= RESULT_HAS_LENGTH;
        /* After an error the buffer means nothing; a warning (STATUS_BUFFER_OVERFLOW) comes with data. */
        size = NT_IS_ERROR(result->status)            ? 0
               : call->io->information < size ? (size_t)call->io->information
                                                      : size;
    }
    if (call->output_address == 0 || size == 0) {
        return;
    }
    copy = copy_output(call);
    if (copy == NULL) {
        return;
    }
    while (call->io == NULL && size != 0 && copy[size - 1] == PROGRAM_FILL_BYTE) {
        size--;
    }
    result->buffer = copy;
    result->buffer_size = (uint32_t)size;
}

static void take_entries(const CALL *call, RESULT *result)
{
    unsigned index;

    result->entries = calloc(call->entry_count + 1, sizeof(RESULT_ENTRY));
    if (result->entries == NULL) {
        return;
    }
    result->entry_count = call->entry_count;
    for (index = 0; index < call->entry_count; index++) {
        result->entries[index].data_length = call->entries[index].data_length;
        result->entries[index].data_offset = call->entries[index].data_offset;
        result->entries[index].type = call->entries[index].type;
    }
}

static void take_result(const CALL *call, RESULT *result)
{
    if (call->handle != NULL && (int32_t)result->status >= 0) {
        result->handle = (ULONG_PTR)*call->handle;
    }
    take_number(result, call->result_length, &result->result_length, RESULT_HAS_LENGTH);
    take_number(result, call->buffer_length, &result->buffer_length, RESULT_HAS_BUFFER_LENGTH);
    take_number(result, call->disposition, &result->disposition, RESULT_HAS_DISPOSITION);
    if (call->compose != NULL) {
        call->compose(call, result);
    } else {
        take_buffer(call, result);
    }
    if (call->entries != NULL) {
        take_entries(call, result);
    }
    result->input_address = call->input_address;
    result->output_address = call->io == NULL ? call->output_address : 0;
    result->name_address = call->name_address;
}

void operation_execute(const OPERATION *operation, const uint64_t *slots, HANDLE target, RESULT *result)
{
    CALL call;
    FARPROC routine;

    memset(&call, 0, sizeof(call));
    memset(result, 0, sizeof(*result));
    call.operation = operation;
    call.slots = slots;
    call.target = target;
    result->process_id = GetCurrentProcessId();
    result->thread_id = GetCurrentThreadId();
    call_prepare(&call);
    if (call.routine == NULL) {
        result->begin = counter_now();
        result->end = result->begin;
        result->status = (uint32_t)call.status;
    } else {
        routine = GetProcAddress(GetModuleHandleW(call.module), call.routine);
        enable(call.privileges);
        result->begin = counter_now();
        result->status = (uint32_t)invoke(routine, call.arguments, call.count);
        result->end = counter_now();
        disable(call.privileges);
        if (call.win32) {
            result->status = from_win32(result->status);
        }
        take_result(&call, result);
    }
    if (call.close_after != NULL) {
        handle_close((ULONG_PTR)call.close_after);
    }
    memory_free(&call.memory);
}
