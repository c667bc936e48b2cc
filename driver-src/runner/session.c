#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "program_hold.h"
#include "protocol.h"
#include "request.h"
#include "runner.h"

/* What may wait for the worker; beyond it a request is refused, and PING is still answered. */
#define MAX_WAITING 64
#define MAX_WAITING_BYTES (2 * (size_t)REGRUN_MAX_PAYLOAD)

/* Told to stop, the runner leaves a request behind that doesn't end within this time. */
#define STOP_MS 8000

typedef struct JOB {
    struct JOB *next;
    REQUEST request;
    unsigned char payload[];
} JOB;

typedef struct SESSION {
    TRANSPORT *transport;
    CRITICAL_SECTION writing;
    CRITICAL_SECTION lock; /* everything below */
    HANDLE work;           /* manual-reset: a job waits, or the end has come */
    JOB *first, *last, *running;
    int waiting;
    size_t waiting_bytes;
    BOOL ended;
} SESSION;

static void send(SESSION *session, uint16_t type, uint32_t id, const void *payload, size_t size)
{
    unsigned char header[FRAME_HEADER_SIZE];

    frame_encode_header(header, type, id, payload, size);
    EnterCriticalSection(&session->writing);
    if (session->transport->write(session->transport, header, sizeof(header)) && size != 0) {
        session->transport->write(session->transport, payload, size);
    }
    LeaveCriticalSection(&session->writing);
}

static void send_answer(SESSION *session, uint32_t id, ANSWER *answer)
{
    send(session, answer->type, id, answer->data, answer->size);
    answer_free(answer);
}

static void refuse(SESSION *session, uint32_t id, unsigned error, const char *message)
{
    ANSWER answer;

    request_refuse(&answer, error, message);
    send_answer(session, id, &answer);
}

static void free_job(JOB *job)
{
    if (job->request.cancel != NULL) {
        CloseHandle(job->request.cancel);
    }
    free(job);
}

static JOB *take_job(SESSION *session)
{
    JOB *job;

    for (;;) {
        WaitForSingleObject(session->work, INFINITE);
        EnterCriticalSection(&session->lock);
        job = session->first;
        if (job != NULL) {
            session->first = job->next;
            session->waiting--;
            session->waiting_bytes -= job->request.size;
        } else if (!session->ended) {
            ResetEvent(session->work);
        }
        session->running = job;
        LeaveCriticalSection(&session->lock);
        if (job != NULL || session->ended) {
            return job;
        }
    }
}

static DWORD WINAPI work(void *parameter)
{
    SESSION *session = parameter;
    ANSWER answer;
    JOB *job;

    while ((job = take_job(session)) != NULL) {
        request_answer(&job->request, &answer);
        EnterCriticalSection(&session->lock);
        session->running = NULL; /* from here on it can't be cancelled */
        LeaveCriticalSection(&session->lock);
        send_answer(session, job->request.id, &answer);
        free_job(job);
    }
    return 0;
}

static void enqueue(SESSION *session, const FRAME *frame)
{
    BOOL full;
    JOB *job;

    EnterCriticalSection(&session->lock);
    full = session->waiting >= MAX_WAITING || session->waiting_bytes + frame->length > MAX_WAITING_BYTES;
    LeaveCriticalSection(&session->lock);
    if (full) {
        refuse(session, frame->id, REGRUN_ERROR_LIMIT, "too many requests wait for this one's turn");
        return;
    }
    job = malloc(sizeof(*job) + frame->length);
    if (job == NULL) {
        refuse(session, frame->id, REGRUN_ERROR_MEMORY, "no memory for the request");
        return;
    }
    memset(job, 0, sizeof(*job));
    if (frame->length != 0) {
        memcpy(job->payload, frame->payload, frame->length);
    }
    job->request.major = frame->major;
    job->request.type = frame->type;
    job->request.id = frame->id;
    job->request.payload = job->payload;
    job->request.size = frame->length;
    if (frame->type == REGRUN_EXECUTE) {
        job->request.cancel = CreateEventW(NULL, TRUE, FALSE, NULL);
    }
    EnterCriticalSection(&session->lock);
    if (session->first == NULL) {
        session->first = job;
    } else {
        session->last->next = job;
    }
    session->last = job;
    session->waiting++;
    session->waiting_bytes += frame->length;
    SetEvent(session->work);
    LeaveCriticalSection(&session->lock);
}

/* The command of request `id`, running or waiting for its turn. */
static BOOL cancel_job(SESSION *session, uint32_t id)
{
    BOOL found = FALSE;
    JOB *job;

    EnterCriticalSection(&session->lock);
    if (session->running != NULL && session->running->request.id == id && session->running->request.cancel != NULL) {
        found = SetEvent(session->running->request.cancel);
    }
    for (job = session->first; job != NULL && !found; job = job->next) {
        if (job->request.id == id && job->request.cancel != NULL) {
            found = SetEvent(job->request.cancel);
        }
    }
    LeaveCriticalSection(&session->lock);
    return found;
}

/* Nobody waits for the answers any more: end the commands, which may run for long, and begin none. A program that
 * waits goes on to its end. */
static void cancel_commands(SESSION *session)
{
    JOB *job;

    hold_set(HOLD_NOWHERE);
    EnterCriticalSection(&session->lock);
    if (session->running != NULL && session->running->request.cancel != NULL) {
        SetEvent(session->running->request.cancel);
    }
    for (job = session->first; job != NULL; job = job->next) {
        if (job->request.cancel != NULL) {
            SetEvent(job->request.cancel);
        }
    }
    LeaveCriticalSection(&session->lock);
}

static void dispatch(SESSION *session, const FRAME *frame)
{
    REQUEST request = {frame->major, frame->type, frame->id, frame->payload, frame->length, NULL};
    ANSWER answer;
    uint32_t id;

    if (frame->major == REGRUN_PROTOCOL_MAJOR && frame->type == REGRUN_PING) {
        send(session, REGRUN_PING | REGRUN_REPLY, frame->id, frame->payload, frame->length);
    } else if (frame->major == REGRUN_PROTOCOL_MAJOR && frame->type == REGRUN_CANCEL) {
        if (cancel_decode(&request, &id, &answer)) {
            cancel_encode(&answer, cancel_job(session, id));
        }
        send_answer(session, frame->id, &answer);
    } else if (frame->major == REGRUN_PROTOCOL_MAJOR && frame->type == REGRUN_HOLD) {
        request_hold(&request, &answer);
        send_answer(session, frame->id, &answer);
    } else {
        enqueue(session, frame);
    }
}

static void dispatch_all(SESSION *session, FRAME_READER *reader)
{
    FRAME_FOUND found;
    FRAME frame;

    while ((found = frame_reader_next(reader, &frame)) != FRAME_NONE) {
        if (found == FRAME_TOO_LONG) {
            refuse(session, frame.id, REGRUN_ERROR_LIMIT, "the payload is longer than the protocol allows");
        } else {
            dispatch(session, &frame);
        }
    }
}

static void read_all(SESSION *session)
{
    FRAME_READER reader;
    unsigned char *space;
    size_t size;
    DWORD got;
    FRAME lost;

    frame_reader_init(&reader);
    for (;;) {
        space = frame_reader_space(&reader, &size);
        if (space == NULL) {
            if (!frame_reader_is_amid(&reader)) {
                break; /* not even the first buffer: nothing can be served */
            }
            if (frame_reader_give_up(&reader, &lost)) {
                refuse(session, lost.id, REGRUN_ERROR_MEMORY, "no memory for a payload of this size");
            }
            dispatch_all(session, &reader);
            continue;
        }
        switch (session->transport->read(session->transport, space, size > 0x10000 ? 0x10000 : (DWORD)size,
                                         frame_reader_is_amid(&reader) ? REGRUN_STALL_MS : INFINITE, &got)) {
        case TRANSPORT_DATA:
            frame_reader_filled(&reader, got);
            dispatch_all(session, &reader);
            break;
        case TRANSPORT_QUIET:
            if (frame_reader_is_amid(&reader)) {
                frame_reader_give_up(&reader, &lost);
                dispatch_all(session, &reader);
            }
            break;
        case TRANSPORT_LEFT:
            cancel_commands(session);
            break;
        case TRANSPORT_END:
            frame_reader_free(&reader);
            return;
        }
    }
    frame_reader_free(&reader);
}

/* Told to stop: what waits is dropped. */
static void drop_jobs(SESSION *session)
{
    JOB *job;

    EnterCriticalSection(&session->lock);
    while ((job = session->first) != NULL) {
        session->first = job->next;
        free_job(job);
    }
    LeaveCriticalSection(&session->lock);
}

BOOL session_serve(TRANSPORT *transport, HANDLE stop)
{
    SESSION *session = calloc(1, sizeof(*session));
    HANDLE worker = NULL;
    BOOL stopped;

    hold_init();
    if (session != NULL) {
        session->transport = transport;
        InitializeCriticalSection(&session->writing);
        InitializeCriticalSection(&session->lock);
        session->work = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (session->work != NULL) {
            worker = CreateThread(NULL, 0, work, session, 0, NULL);
        }
    }
    if (worker == NULL) {
        say("no memory to serve with");
        return FALSE;
    }
    read_all(session);
    stopped = WaitForSingleObject(stop, 0) == WAIT_OBJECT_0;
    if (stopped) {
        drop_jobs(session);
    }
    cancel_commands(session);
    EnterCriticalSection(&session->lock);
    session->ended = TRUE;
    SetEvent(session->work);
    LeaveCriticalSection(&session->lock);
    if (WaitForSingleObject(worker, stopped ? STOP_MS : INFINITE) != WAIT_OBJECT_0) {
        return TRUE; /* the process ends now, the worker and what it uses with it */
    }
    CloseHandle(worker);
    CloseHandle(session->work);
    DeleteCriticalSection(&session->lock);
    DeleteCriticalSection(&session->writing);
    free(session);
    return TRUE;
}
