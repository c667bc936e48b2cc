/* The helper's side: the main thread reads requests and so notices the runner's end; others do the work. */
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "process_pipe.h"
#include "program_execute.h"
#include "program_thread.h"


typedef struct TASK {
    HELPER_REQUEST request;
    unsigned char *body; /* slots, then the encoded operation */
    HANDLE to;
} TASK;

static HANDLE open_target(DWORD id)
{
    if (id == 0) {
        return NULL;
    }
    return id == GetCurrentProcessId() ? GetCurrentProcess() : OpenProcess(PROCESS_DUP_HANDLE, FALSE, id);
}

static void execute(const TASK *task, RESULT *result)
{
    const uint64_t *slots = (const uint64_t *)(const void *)task->body;
    HANDLE target = open_target(task->request.target);
    OPERATION operation;
    DECODE_ERROR error;

    if (operation_decode(&operation, task->body + task->request.slot_count * sizeof(uint64_t),
                         task->request.encoded_size, task->request.slot_count, &error)) {
        operation_execute(&operation, slots, target, result);
    } else {
        ExitProcess(1); /* the runner decoded it: this pipe no longer carries what it should */
    }
    if (target != NULL && target != GetCurrentProcess()) {
        CloseHandle(target);
    }
}

/* On the thread that the request names. */
static void carry_out(void *argument)
{
    TASK *task = argument;
    RESULT result;

    memset(&result, 0, sizeof(result));
    result.process_id = GetCurrentProcessId();
    result.thread_id = GetCurrentThreadId();
    if (task->request.kind == HELPER_EXECUTE) {
        execute(task, &result);
    } else if (task->request.kind == HELPER_CLOSE) {
        handle_close(task->request.handle);
    } else if (task->request.kind == HELPER_FREE) {
        VirtualFree((void *)(ULONG_PTR)task->request.handle, 0, MEM_RELEASE);
    }
    if (!pipe_write_result(task->to, &result)) {
        ExitProcess(0); /* the runner has ended */
    }
    result_free(&result);
}

static BOOL read_task(HANDLE from, TASK *task)
{
    size_t size;

    if (!pipe_read(from, &task->request, sizeof(task->request)) || task->request.thread >= PROGRAM_MAX_THREADS ||
        task->request.slot_count > PROGRAM_MAX_HANDLES || task->request.encoded_size > PROGRAM_MAX_ENCODED) {
        return FALSE;
    }
    size = task->request.slot_count * sizeof(uint64_t) + task->request.encoded_size;
    task->body = malloc(size + 1);
    return task->body != NULL && pipe_read(from, task->body, size);
}

/* The pipes' ends on a thread of their own, so that a call that hangs does not keep the process alive. */
typedef struct READER {
    HANDLE from, to, ready, taken;
    TASK task;
} READER;

static DWORD WINAPI read_all(void *parameter)
{
    READER *reader = parameter;

    while (read_task(reader->from, &reader->task)) {
        SetEvent(reader->ready);
        WaitForSingleObject(reader->taken, INFINITE);
    }
    ExitProcess(0);
}

int process_helper_main(int argc, wchar_t **argv)
{
    READER reader;
    TASK task;

    memset(&reader, 0, sizeof(reader));
    if (argc != 4) {
        return 2;
    }
    reader.from = (HANDLE)(ULONG_PTR)wcstoul(argv[2], NULL, 10);
    reader.to = (HANDLE)(ULONG_PTR)wcstoul(argv[3], NULL, 10);
    reader.ready = CreateEventW(NULL, FALSE, FALSE, NULL);
    reader.taken = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (reader.ready == NULL || reader.taken == NULL || CreateThread(NULL, 0, read_all, &reader, 0, NULL) == NULL) {
        return 1;
    }
    while (WaitForSingleObject(reader.ready, INFINITE) == WAIT_OBJECT_0) {
        task = reader.task;
        task.to = reader.to;
        SetEvent(reader.taken);
        if (!thread_do(task.request.thread, carry_out, &task)) {
            return 1;
        }
        free(task.body);
    }
    return 1;
}
