/*
 * The command's three streams are named pipes, overlapped on this side: one thread waits for the process, its
 * streams, the time-out and a cancellation alike, and none is left behind in a read that never ends.
 */
#include "execute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"
#include "runner.h"

#define ENDED_EXIT_CODE 0xC000013A /* STATUS_CONTROL_C_EXIT: what a process has that the runner ended */
#define PIPE_SIZE 0x10000
/* The process has ended and its output goes silent without ending: another process holds it and may live long. */
#define SILENCE_MS 250
#define DRAIN_MS 10000 /* or it never goes silent */
#define ENDING_MS 30000 /* what was ended is gone at once, but for a busy host */
#define AGAIN_MS 10

typedef struct STREAM {
    HANDLE pipe, child;
    OVERLAPPED io;
    BOOL pending, ended;
    const unsigned char *from; /* what the command still has to be given */
    size_t left;
    unsigned char *kept; /* what it wrote; `limit` bytes at most */
    size_t size, capacity, limit;
    uint64_t lost;
    unsigned char buffer[0x4000];
} STREAM;

typedef struct COMMAND {
    STREAM input, output, error; /* as seen from the command */
    HANDLE process, job;
} COMMAND;

static BOOL open_stream(STREAM *stream, const char *purpose, unsigned id, BOOL to_command)
{
    SECURITY_ATTRIBUTES inherited = {sizeof(inherited), NULL, TRUE};
    wchar_t name[96];

    _snwprintf(name, sizeof(name) / sizeof(wchar_t), L"\\\\.\\pipe\\regrun-%lu-%u-%hs", GetCurrentProcessId(), id,
               purpose);
    name[sizeof(name) / sizeof(wchar_t) - 1] = 0;
    stream->io.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    stream->pipe = CreateNamedPipeW(name,
                                    (to_command ? PIPE_ACCESS_OUTBOUND : PIPE_ACCESS_INBOUND) | FILE_FLAG_OVERLAPPED |
                                        FILE_FLAG_FIRST_PIPE_INSTANCE,
                                    PIPE_TYPE_BYTE | PIPE_WAIT, 1, PIPE_SIZE, PIPE_SIZE, 0, NULL);
    if (stream->io.hEvent == NULL || stream->pipe == INVALID_HANDLE_VALUE) {
        return FALSE;
    }
    stream->child = CreateFileW(name, to_command ? GENERIC_READ : GENERIC_WRITE, 0, &inherited, OPEN_EXISTING, 0, NULL);
    return stream->child != INVALID_HANDLE_VALUE;
}

static void close_handle(HANDLE *handle)
{
    if (*handle != NULL && *handle != INVALID_HANDLE_VALUE) {
        CloseHandle(*handle);
    }
    *handle = NULL;
}

static void close_stream(STREAM *stream)
{
    DWORD ignored;

    if (stream->pending) {
        CancelIo(stream->pipe);
        GetOverlappedResult(stream->pipe, &stream->io, &ignored, TRUE);
        stream->pending = FALSE;
    }
    close_handle(&stream->pipe);
    close_handle(&stream->child);
    stream->ended = TRUE;
}

static void keep(STREAM *stream, size_t size)
{
    size_t room = stream->limit - stream->size, part = size < room ? size : room, capacity;
    unsigned char *larger;

    if (stream->size + part > stream->capacity) {
        capacity = stream->capacity * 2 < stream->size + part ? stream->size + part + PIPE_SIZE : stream->capacity * 2;
        larger = realloc(stream->kept, capacity);
        if (larger == NULL) {
            part = 0; /* lost, and counted as such */
        } else {
            stream->kept = larger;
            stream->capacity = capacity;
        }
    }
    memcpy(stream->kept + stream->size, stream->buffer, part);
    stream->size += part;
    stream->lost += size - part;
}

/* Begin the next read or write; a stream without one has ended. */
static void begin(STREAM *stream)
{
    HANDLE event = stream->io.hEvent;
    BOOL begun;

    if (stream->ended || stream->pending) {
        return;
    }
    memset(&stream->io, 0, sizeof(stream->io));
    stream->io.hEvent = event;
    ResetEvent(event);
    if (stream->from != NULL) {
        begun = stream->left != 0 &&
                WriteFile(stream->pipe, stream->from, stream->left > PIPE_SIZE ? PIPE_SIZE : (DWORD)stream->left, NULL,
                          &stream->io);
    } else {
        begun = ReadFile(stream->pipe, stream->buffer, sizeof(stream->buffer), NULL, &stream->io);
    }
    if (begun || ((stream->from == NULL || stream->left != 0) && GetLastError() == ERROR_IO_PENDING)) {
        stream->pending = TRUE;
    } else {
        close_stream(stream);
    }
}

static void complete(STREAM *stream)
{
    DWORD moved = 0;

    stream->pending = FALSE;
    if (!GetOverlappedResult(stream->pipe, &stream->io, &moved, FALSE)) {
        close_stream(stream);
    } else if (stream->from != NULL) {
        stream->from += moved;
        stream->left -= moved;
    } else {
        keep(stream, moved);
    }
}

static BOOL is_anyone_left(HANDLE job)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION facts;

    return QueryInformationJobObject(job, JobObjectBasicAccountingInformation, &facts, sizeof(facts), NULL) &&
           facts.ActiveProcesses != 0;
}

/* Until nobody is left in the job: one that is just being created may be missed by the first call (under Wine it is). */
static void end_tree(COMMAND *command)
{
    DWORD since = GetTickCount();

    if (command->job == NULL || !TerminateJobObject(command->job, ENDED_EXIT_CODE)) {
        TerminateProcess(command->process, ENDED_EXIT_CODE);
        return;
    }
    while (is_anyone_left(command->job) && GetTickCount() - since < ENDING_MS) {
        Sleep(AGAIN_MS);
        TerminateJobObject(command->job, ENDED_EXIT_CODE);
    }
}

typedef struct OUTCOME {
    BOOL timed_out, cancelled;
} OUTCOME;

/* Move bytes until the command has ended and its output too, or has been silent for SILENCE_MS. */
static void attend(COMMAND *command, HANDLE cancel, DWORD timeout_ms, OUTCOME *outcome)
{
    STREAM *streams[3] = {&command->input, &command->output, &command->error};
    DWORD since = GetTickCount(), ended = 0, passed, wait, signalled, count;
    BOOL running = TRUE;
    HANDLE events[5];
    STREAM *waiting[5];
    int index;

    for (;;) {
        count = 0;
        for (index = 0; index < 3; index++) {
            begin(streams[index]);
            if (streams[index]->pending) {
                waiting[count] = streams[index];
                events[count++] = streams[index]->io.hEvent;
            }
        }
        if (!running &&
            ((command->output.ended && command->error.ended) || GetTickCount() - ended > DRAIN_MS)) {
            return;
        }
        if (running) {
            waiting[count] = NULL;
            events[count++] = command->process;
            if (cancel != NULL) {
                waiting[count] = NULL;
                events[count++] = cancel;
            }
        }
        passed = GetTickCount() - since;
        wait = !running ? SILENCE_MS : passed >= timeout_ms ? 0 : timeout_ms - passed;
        signalled = WaitForMultipleObjects(count, events, FALSE, wait);
        if (signalled < WAIT_OBJECT_0 + count) {
            if (waiting[signalled] != NULL) {
                complete(waiting[signalled]);
                /* A flood of output must not hide the clock: both are looked at in every turn. */
                if (!running || GetTickCount() - since < timeout_ms) {
                    continue;
                }
                signalled = WAIT_TIMEOUT;
            }
        }
        if (!running) {
            return;
        }
        if (signalled == WAIT_TIMEOUT || events[signalled] != command->process) {
            outcome->timed_out = signalled == WAIT_TIMEOUT;
            outcome->cancelled = !outcome->timed_out;
            end_tree(command);
            WaitForSingleObject(command->process, ENDING_MS);
        }
        running = FALSE;
        ended = GetTickCount();
        close_stream(&command->input);
    }
}

static BOOL start(COMMAND *command, wchar_t *line, const wchar_t *folder, REPLY *reply)
{
    STARTUPINFOW startup;
    PROCESS_INFORMATION process;

    memset(&startup, 0, sizeof(startup));
    startup.cb = sizeof(startup);
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdInput = command->input.child;
    startup.hStdOutput = command->output.child;
    startup.hStdError = command->error.child;
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, CREATE_SUSPENDED | CREATE_NO_WINDOW, NULL, folder, &startup,
                        &process)) {
        reply_fail_win32(reply, "the command was not started", GetLastError());
        return FALSE;
    }
    command->process = process.hProcess;
    /* Before it runs, so that nothing it starts is outside. */
    command->job = CreateJobObjectW(NULL, NULL);
    if (command->job != NULL && !AssignProcessToJobObject(command->job, command->process)) {
        close_handle(&command->job);
    }
    ResumeThread(process.hThread);
    CloseHandle(process.hThread);
    close_handle(&command->input.child);
    close_handle(&command->output.child);
    close_handle(&command->error.child);
    return TRUE;
}

static void report(const COMMAND *command, const OUTCOME *outcome, REPLY *reply)
{
    DWORD code = ENDED_EXIT_CODE;

    if (command->process != NULL) {
        GetExitCodeProcess(command->process, &code);
    }
    reply_uint(reply, "exit_code", code);
    reply_bytes(reply, "stdout", command->output.kept, command->output.size);
    reply_bytes(reply, "stderr", command->error.kept, command->error.size);
    reply_uint(reply, "stdout_lost", command->output.lost);
    reply_uint(reply, "stderr_lost", command->error.lost);
    reply_bool(reply, "timed_out", outcome->timed_out);
    reply_bool(reply, "cancelled", outcome->cancelled);
}

/* command_line, timeout_ms, input, folder, max_output */
void execute(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    static unsigned last_id;
    unsigned id = ++last_id; /* one command at a time: the worker alone gets here */
    size_t limit = values[4].given ? (size_t)values[4].number : 1 << 20;
    OUTCOME outcome = {FALSE, FALSE};
    COMMAND *command = calloc(1, sizeof(*command));

    if (command == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for a command's streams");
        return;
    }
    command->output.limit = command->error.limit = limit;
    command->input.from = values[2].given ? values[2].bytes : (const unsigned char *)"";
    command->input.left = values[2].given ? values[2].size : 0;
    if (request->cancel != NULL && WaitForSingleObject(request->cancel, 0) == WAIT_OBJECT_0) {
        outcome.cancelled = TRUE;
        report(command, &outcome, reply);
    } else if (!open_stream(&command->input, "in", id, TRUE) || !open_stream(&command->output, "out", id, FALSE) ||
               !open_stream(&command->error, "err", id, FALSE)) {
        reply_fail_win32(reply, "no pipes for a command's streams", GetLastError());
    } else if (start(command, values[0].text, values[3].text, reply)) {
        attend(command, request->cancel, (DWORD)values[1].number, &outcome);
        report(command, &outcome, reply);
    }
    close_stream(&command->input);
    close_stream(&command->output);
    close_stream(&command->error);
    close_handle(&command->input.io.hEvent);
    close_handle(&command->output.io.hEvent);
    close_handle(&command->error.io.hEvent);
    free(command->output.kept);
    free(command->error.kept);
    close_handle(&command->process);
    close_handle(&command->job);
    free(command);
}
