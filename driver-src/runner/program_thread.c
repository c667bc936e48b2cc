#include "program_thread.h"

#include <string.h>

#include "program_table.h"

/* Operations need little; a page or two of native code below them is not ours to bound. */
#define STACK_RESERVE 0x40000

typedef struct WORKER {
    HANDLE thread, go, done;
    THREAD_WORK *work;
    void *argument;
} WORKER;

static WORKER workers[PROGRAM_MAX_THREADS + PROGRAM_MAX_PROCESSES];
static DWORD adopted;

static DWORD WINAPI serve(void *parameter)
{
    WORKER *worker = parameter;

    while (WaitForSingleObject(worker->go, INFINITE) == WAIT_OBJECT_0) {
        worker->work(worker->argument);
        SetEvent(worker->done);
    }
    return 0;
}

static void stop(WORKER *worker)
{
    if (worker->go != NULL) {
        CloseHandle(worker->go);
    }
    if (worker->done != NULL) {
        CloseHandle(worker->done);
    }
    if (worker->thread != NULL) {
        CloseHandle(worker->thread);
    }
    memset(worker, 0, sizeof(*worker));
}

static BOOL start(WORKER *worker)
{
    worker->go = CreateEventW(NULL, FALSE, FALSE, NULL);
    worker->done = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (worker->go != NULL && worker->done != NULL) {
        worker->thread = CreateThread(NULL, STACK_RESERVE, serve, worker, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    }
    if (worker->thread == NULL) {
        stop(worker);
        return FALSE;
    }
    return TRUE;
}

void threads_adopt_caller(void)
{
    adopted = GetCurrentThreadId();
}

BOOL thread_begin(unsigned index, THREAD_WORK *work, void *argument)
{
    WORKER *worker = &workers[index];

    if (worker->thread == NULL && !start(worker)) {
        return FALSE;
    }
    worker->work = work;
    worker->argument = argument;
    return SetEvent(worker->go);
}

BOOL thread_end(unsigned index)
{
    WORKER *worker = &workers[index];
    HANDLE ends[2] = {worker->done, worker->thread};

    if (WaitForMultipleObjects(2, ends, FALSE, INFINITE) != WAIT_OBJECT_0) {
        stop(worker); /* the call ended its thread: there will be no answer */
        return FALSE;
    }
    return TRUE;
}

BOOL thread_do(unsigned index, THREAD_WORK *work, void *argument)
{
    if (index == 0 && adopted == GetCurrentThreadId()) {
        work(argument);
        return TRUE;
    }
    return thread_begin(index, work, argument) && thread_end(index);
}
