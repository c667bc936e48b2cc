#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "process.h"
#include "program_execute.h"
#include "program_handles.h"
#include "program_hold.h"
#include "program_impersonate.h"
#include "program_lane.h"
#include "program_thread.h"
#include "regrun.h"

#define STATUS_PROCESS_IS_TERMINATING_ 0xC000010Au
#define HEADER_ROOM 1024 /* bytes of a result beside its operations */

typedef struct RUN {
    PROGRAM program;
    HANDLES handles;
    DWORD process_ids[PROGRAM_MAX_PROCESSES];
    LANE *lanes;      /* PROGRAM_LANES */
    RESULT *each;     /* by operation: not encoded yet, because one before it hasn't ended */
    BOOL *ended;      /* by operation */
    BOOL impersonates[PROGRAM_MAX_THREADS];
    unsigned encoded; /* operations whose results are in `results` */
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

/* -- operations -------------------------------------------------------------------------------------------- */

/* The result of operation `index` is there: results are encoded in the operations' order. */
static int settle(RUN *run, unsigned index, const RESULT *result)
{
    run->each[index] = *result;
    run->ended[index] = TRUE;
    while (run->encoded < run->program.count && run->ended[run->encoded]) {
        result_encode(&run->results, &run->each[run->encoded]);
        result_free(&run->each[run->encoded]);
        run->encoded++;
    }
    if (run->results.failed) {
        return fail(run, run->results.size > PROGRAM_MAX_ENCODED / 2 ? REGRUN_ERROR_LIMIT : REGRUN_ERROR_MEMORY,
                    "the result grew too large at operation %lu", index);
    }
    return 0;
}

/* Wait for what a lane does, and take its result. */
static int finish(RUN *run, LANE *lane)
{
    unsigned role = (unsigned)lane->operation.fields[FIELD_PROCESS].number;

    if (!lane->busy) {
        return 0;
    }
    if (!lane_end(lane)) {
        result_free(&lane->result);
        return fail(run, REGRUN_ERROR_SYSTEM, "a thread has ended: error %lu", GetLastError());
    }
    if (lane->gone) {
        handles_forget_process(&run->handles, role);
        result_free(&lane->result);
        lane->result.status = STATUS_PROCESS_IS_TERMINATING_;
        lane->result.process_id = run->process_ids[role];
        lane->result.begin = lane->result.end = counter_now();
    }
    if (!handles_after(&run->handles, &lane->operation, role, &lane->result)) {
        run->results.failed = true; /* out of memory */
    }
    if (!lane->begun) {
        hold_after(lane->index, lane->result.status);
    }
    return settle(run, lane->index, &lane->result);
}

static int finish_all(RUN *run)
{
    unsigned number;
    int error = 0, one;

    for (number = 0; number < PROGRAM_LANES; number++) {
        one = finish(run, &run->lanes[number]);
        error = error != 0 ? error : one;
    }
    return error;
}

/* Process id of a role, which exists then, and is idle. 0: it can't be had. */
static DWORD use_process(RUN *run, unsigned role)
{
    DWORD id = role == 0 ? GetCurrentProcessId() : process_ensure(role);

    if (id != 0 && run->process_ids[role] != id) {
        handles_forget_process(&run->handles, role); /* those of a process of this role that has ended */
        run->process_ids[role] = id;
    }
    return id;
}

/* What ends isn't waited for: an operation may stand in it that only goes on later. */
static int terminate(RUN *run, unsigned index, const OPERATION *operation)
{
    unsigned role = (unsigned)operation->fields[FIELD_PROCESS].number;
    BOOL busy = run->lanes[lane_of(role, 0)].busy;
    RESULT result;

    if (!busy && use_process(run, role) == 0) {
        return fail(run, REGRUN_ERROR_SYSTEM, "a helper process was not started: error %lu", GetLastError());
    }
    memset(&result, 0, sizeof(result));
    process_terminate(role, operation, busy, &result);
    handles_forget_process(&run->handles, role);
    if (result.process_id == 0) { /* it had ended before */
        result.status = STATUS_PROCESS_IS_TERMINATING_;
        result.process_id = run->process_ids[role];
        result.begin = result.end = counter_now();
    }
    hold_after(index, result.status);
    return settle(run, index, &result);
}

static int run_operation(RUN *run, unsigned index, const OPERATION *operation)
{
    unsigned role = (unsigned)operation->fields[FIELD_PROCESS].number;
    unsigned number = lane_of(role, (unsigned)operation->fields[FIELD_THREAD].number);
    BOOL duplicates = operation->opcode == OP_DUPLICATE_HANDLE;
    unsigned target = duplicates ? (unsigned)operation->fields[FIELD_TARGET_PROCESS].number : 0;
    BOOL background = operation->fields[FIELD_BACKGROUND].number != 0;
    LANE *lane = &run->lanes[number];
    int error;

    if (operation->opcode == OP_TERMINATE_PROCESS) {
        return terminate(run, index, operation);
    }
    error = finish(run, lane);
    if (error == 0 && target != 0) {
        error = finish(run, &run->lanes[lane_of(target, 0)]);
    }
    if (error != 0) {
        return error;
    }
    if (use_process(run, role) == 0 || (duplicates && use_process(run, target) == 0)) {
        return fail(run, REGRUN_ERROR_SYSTEM, "a helper process was not started: error %lu", GetLastError());
    }
    lane->operation = *operation;
    lane->index = index;
    lane->number = number;
    run->impersonates[number % PROGRAM_MAX_THREADS] |= operation->opcode == OP_IMPERSONATE;
    lane->target_id = duplicates ? run->process_ids[target] : 0;
    if (!lane_begin(lane, run->handles.slots, run->handles.count, background)) {
        return fail(run, REGRUN_ERROR_SYSTEM, "a thread was not started or has ended: error %lu", GetLastError());
    }
    if (background) {
        hold_after(index, STATUS_PENDING_);
        return 0;
    }
    return finish(run, lane);
}

static int run_operations(RUN *run)
{
    const unsigned char *at = run->program.operations;
    size_t left = run->program.size;
    OPERATION operation;
    DECODE_ERROR unused;
    unsigned index;
    int error = 0;

    for (index = 0; error == 0 && index < run->program.count; index++) {
        /* It was decoded once before: this can't fail. */
        operation_decode(&operation, at, left, run->program.handle_count, &unused);
        at += operation.encoded_size;
        left -= operation.encoded_size;
        hold_before(index);
        error = run_operation(run, index, &operation);
    }
    return error;
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

/* FALSE: no memory. */
static BOOL prepare(RUN *run)
{
    run->lanes = calloc(PROGRAM_LANES, sizeof(*run->lanes));
    run->each = calloc(run->program.count + 1, sizeof(*run->each));
    run->ended = calloc(run->program.count + 1, sizeof(*run->ended));
    return handles_init(&run->handles, run->program.handle_count) && run->lanes != NULL && run->each != NULL &&
           run->ended != NULL;
}

static void clear(RUN *run)
{
    unsigned index;

    for (index = run->encoded; run->each != NULL && index < run->program.count; index++) {
        result_free(&run->each[index]);
    }
    free(run->ended);
    free(run->each);
    free(run->lanes);
    handles_free(&run->handles);
}

static void revert(RUN *run)
{
    unsigned thread;

    for (thread = 1; thread < PROGRAM_MAX_THREADS; thread++) {
        if (run->impersonates[thread]) {
            thread_do(thread, impersonation_end, NULL);
        }
    }
}

static int carry_out(RUN *run, unsigned char **out, size_t *out_size)
{
    int error, last;

    threads_adopt_caller();
    run->process_ids[0] = GetCurrentProcessId();
    cbor_writer_init(&run->results, PROGRAM_MAX_ENCODED - HEADER_ROOM);
    hold_begin(run->program.count);
    error = run_operations(run);
    last = finish_all(run);
    hold_before(run->program.count);
    error = error != 0 ? error : last;
    revert(run);
    handles_close(&run->handles);
    if (error == 0) {
        error = write_result(run, out, out_size);
    }
    cbor_writer_free(&run->results);
    return error;
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
    if (prepare(&run)) {
        error = carry_out(&run, out, out_size);
    } else {
        error = fail(&run, REGRUN_ERROR_MEMORY, "no memory for the program's handles", 0);
    }
    hold_end();
    clear(&run);
    return error;
}
