#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "program_execute.h"
#include "program_hold.h"
#include "program_thread.h"
#include "regrun.h"

#define STATUS_PROCESS_IS_TERMINATING_ 0xC000010Au
#define HEADER_ROOM 1024 /* bytes of a result beside its operations */

/* A handle that an operation gave out and none has closed. */
typedef struct OPEN_HANDLE {
    unsigned slot, role;
    uint64_t handle;
} OPEN_HANDLE;

typedef struct RUN {
    PROGRAM program;
    uint64_t *slots; /* raw handle values */
    OPEN_HANDLE *open;
    size_t open_count, open_capacity;
    DWORD process_ids[PROGRAM_MAX_PROCESSES];
    CBOR_WRITER results;
    char *message;
    size_t message_size;
} RUN;

static int fail(RUN *run, int error, const char *text, unsigned long number)
{
    _snprintf(run->message, run->message_size - 1, text, number);
    run->message[run->message_size - 1] = 0;
    return error;
}

/* -- handles ----------------------------------------------------------------------------------------------- */

static BOOL remember_handle(RUN *run, unsigned slot, unsigned role, uint64_t handle)
{
    OPEN_HANDLE *grown;

    run->slots[slot] = handle;
    if (run->open_count == run->open_capacity) {
        run->open_capacity = run->open_capacity == 0 ? 64 : 2 * run->open_capacity;
        grown = realloc(run->open, run->open_capacity * sizeof(*grown));
        if (grown == NULL) {
            return FALSE;
        }
        run->open = grown;
    }
    run->open[run->open_count].slot = slot;
    run->open[run->open_count].role = role;
    run->open[run->open_count].handle = handle;
    run->open_count++;
    return TRUE;
}

/* `handle` of a process is closed; `all`: the process and its handles are gone. */
static void forget_handles(RUN *run, unsigned role, uint64_t handle, BOOL all)
{
    size_t from, to = 0;

    for (from = 0; from < run->open_count; from++) {
        if (run->open[from].role != role || (!all && run->open[from].handle != handle)) {
            run->open[to++] = run->open[from];
        }
    }
    run->open_count = to;
}

static void close_here(void *argument)
{
    handle_close(*(const uint64_t *)argument);
}

/* In slot order; where a slot was filled again, what it held first goes first. */
static void close_leftovers(RUN *run)
{
    unsigned slot;
    size_t index;

    for (slot = 0; slot < run->program.handle_count && run->open_count != 0; slot++) {
        for (index = 0; index < run->open_count; index++) {
            OPEN_HANDLE *open = &run->open[index];

            if (open->slot == slot) {
                if (open->role == 0) {
                    thread_do(0, close_here, &open->handle);
                } else {
                    process_close_handle(open->role, open->handle);
                }
            }
        }
    }
    run->open_count = 0;
}

/* -- operations -------------------------------------------------------------------------------------------- */

typedef struct TASK {
    const OPERATION *operation;
    const uint64_t *slots;
    HANDLE target;
    RESULT *result;
} TASK;

static void execute_task(void *argument)
{
    TASK *task = argument;

    operation_execute(task->operation, task->slots, task->target, task->result);
}

static BOOL execute_here(RUN *run, const OPERATION *operation, DWORD target_id, RESULT *result)
{
    TASK task = {operation, run->slots, NULL, result};
    BOOL done;

    if (target_id != 0) {
        task.target = target_id == GetCurrentProcessId() ? GetCurrentProcess()
                                                         : OpenProcess(PROCESS_DUP_HANDLE, FALSE, target_id);
    }
    done = thread_do((unsigned)operation->fields[FIELD_THREAD].number, execute_task, &task);
    if (task.target != NULL && task.target != GetCurrentProcess()) {
        CloseHandle(task.target);
    }
    return done;
}

/* Process id of a role, which exists then. 0: it can't be had. */
static DWORD use_process(RUN *run, unsigned role)
{
    DWORD id = role == 0 ? GetCurrentProcessId() : process_ensure(role);

    if (id != 0 && run->process_ids[role] != id) {
        forget_handles(run, role, 0, TRUE); /* those of a process of this role that has ended */
        run->process_ids[role] = id;
    }
    return id;
}

static void take_handles(RUN *run, const OPERATION *operation, unsigned role, const RESULT *result)
{
    const FIELD_VALUE *out = &operation->fields[FIELD_OUT], *handle = &operation->fields[FIELD_HANDLE];

    if (result->handle != 0 && out->given) {
        if (operation->opcode == OP_DUPLICATE_HANDLE) {
            role = (unsigned)operation->fields[FIELD_TARGET_PROCESS].number;
        }
        if (!remember_handle(run, (unsigned)out->number, role, result->handle)) {
            run->results.failed = true; /* out of memory */
        }
    }
    if ((operation->opcode == OP_CLOSE || operation->opcode == OP_WIN32_CLOSE_KEY) && (int32_t)result->status >= 0) {
        forget_handles(run, role, run->slots[handle->number], FALSE);
    }
}

/* 0 or REGRUN_ERROR_xxx: no process or thread to execute it. */
static int run_operation(RUN *run, const OPERATION *operation, RESULT *result)
{
    unsigned role = (unsigned)operation->fields[FIELD_PROCESS].number;
    DWORD target = 0;
    BOOL done;

    memset(result, 0, sizeof(*result));
    if (use_process(run, role) == 0) {
        return fail(run, REGRUN_ERROR_SYSTEM, "a helper process was not started: error %lu", GetLastError());
    }
    if (operation->opcode == OP_DUPLICATE_HANDLE) {
        target = use_process(run, (unsigned)operation->fields[FIELD_TARGET_PROCESS].number);
        if (target == 0) {
            return fail(run, REGRUN_ERROR_SYSTEM, "a helper process was not started: error %lu", GetLastError());
        }
    }
    if (role == 0) {
        if (!execute_here(run, operation, target, result)) {
            return fail(run, REGRUN_ERROR_SYSTEM, "a thread was not started or has ended: error %lu", GetLastError());
        }
        return 0;
    }
    if (operation->opcode == OP_TERMINATE_PROCESS) {
        process_terminate(role, operation, result);
        done = result->process_id != 0;
        forget_handles(run, role, 0, TRUE);
    } else {
        done = process_execute(role, operation, run->slots, run->program.handle_count, target, result);
    }
    if (!done) {
        forget_handles(run, role, 0, TRUE);
        result->status = STATUS_PROCESS_IS_TERMINATING_;
        result->process_id = run->process_ids[role];
        result->begin = result->end = counter_now();
    }
    return 0;
}

static int run_operations(RUN *run)
{
    const unsigned char *at = run->program.operations;
    size_t left = run->program.size;
    OPERATION operation;
    DECODE_ERROR unused;
    RESULT result;
    unsigned index;
    int error;

    for (index = 0; index < run->program.count; index++) {
        /* It was decoded once before: this can't fail. */
        operation_decode(&operation, at, left, run->program.handle_count, &unused);
        at += operation.encoded_size;
        left -= operation.encoded_size;
        hold_before(index);
        error = run_operation(run, &operation, &result);
        if (error == 0) {
            hold_after(index, result.status);
            take_handles(run, &operation, (unsigned)operation.fields[FIELD_PROCESS].number, &result);
            result_encode(&run->results, &result);
        }
        result_free(&result);
        if (error != 0) {
            return error;
        }
        if (run->results.failed) {
            return fail(run, run->results.size > PROGRAM_MAX_ENCODED / 2 ? REGRUN_ERROR_LIMIT : REGRUN_ERROR_MEMORY,
                        "the result grew too large at operation %lu", index);
        }
    }
    return 0;
}

/* -- results ----------------------------------------------------------------------------------------------- */

static void put_pair(CBOR_WRITER *writer, const char *key, uint64_t number)
{
    cbor_put_text(writer, key);
    cbor_put_unsigned(writer, number);
}

static int write_result(RUN *run, unsigned char **out, size_t *out_size)
{
    unsigned roles = PROGRAM_MAX_PROCESSES, role;
    LARGE_INTEGER frequency;
    CBOR_WRITER writer;

    while (run->process_ids[roles - 1] == 0) {
        roles--; /* the runner's own is there */
    }
    QueryPerformanceFrequency(&frequency);
    cbor_writer_init(&writer, PROGRAM_MAX_ENCODED);
    cbor_put_array(&writer, 3);
    cbor_put_unsigned(&writer, PROGRAM_FORMAT_VERSION);
    cbor_put_map(&writer, 5);
    put_pair(&writer, "process_id", GetCurrentProcessId());
    put_pair(&writer, "thread_id", GetCurrentThreadId());
    put_pair(&writer, "pointer_size", sizeof(void *));
    put_pair(&writer, "frequency", (uint64_t)frequency.QuadPart);
    cbor_put_text(&writer, "process_ids");
    cbor_put_array(&writer, roles);
    for (role = 0; role < roles; role++) {
        cbor_put_unsigned(&writer, run->process_ids[role]);
    }
    cbor_put_array(&writer, run->program.count);
    cbor_put_encoded(&writer, run->results.data, run->results.size);
    if (writer.failed) {
        cbor_writer_free(&writer);
        return fail(run, REGRUN_ERROR_MEMORY, "no memory for the result", 0);
    }
    *out = writer.data;
    *out_size = writer.size;
    return 0;
}

int program_run(const unsigned char *in, size_t in_size, unsigned char **out, size_t *out_size, char *message,
                size_t message_size)
{
    DECODE_ERROR malformed;
    int error;
    RUN run;

    memset(&run, 0, sizeof(run));
    run.message = message;
    run.message_size = message_size;
    if (!program_decode(&run.program, in, in_size, &malformed)) {
        hold_end();
        _snprintf(message, message_size - 1, "%s", malformed.text);
        message[message_size - 1] = 0;
        return malformed.limit ? REGRUN_ERROR_LIMIT : REGRUN_ERROR_MALFORMED;
    }
    run.slots = calloc(run.program.handle_count + 1, sizeof(*run.slots));
    if (run.slots == NULL) {
        hold_end();
        return fail(&run, REGRUN_ERROR_MEMORY, "no memory for the program's handles", 0);
    }
    threads_adopt_caller();
    run.process_ids[0] = GetCurrentProcessId();
    cbor_writer_init(&run.results, PROGRAM_MAX_ENCODED - HEADER_ROOM);
    hold_begin(run.program.count);
    error = run_operations(&run);
    close_leftovers(&run);
    hold_end();
    if (error == 0) {
        error = write_result(&run, out, out_size);
    }
    cbor_writer_free(&run.results);
    free(run.open);
    free(run.slots);
    return error;
}
