/*
 * stdin and stdout as a transport.
 *
 * These handles know no overlapped reads and no time-outs, so a thread of its own sits in ReadFile and hands
 * over one buffer at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "transport.h"

typedef struct STANDARD {
    TRANSPORT base;
    HANDLE input, output;
    HANDLE filled, emptied; /* auto-reset: whose turn it is with `buffer` */
    BOOL patient;
    BOOL ended; /* the pump's: nothing more comes, told with `filled` */
    BOOL over;  /* the reader's: it has seen that */
    DWORD held;        /* bytes in `buffer`, 0: nobody is connected any more; the pump's until it is `filled` */
    DWORD left, taken; /* the reader's own: bytes it still has to take, and how many it has had */
    unsigned char buffer[0x10000];
} STANDARD;

static DWORD WINAPI pump(void *parameter)
{
    STANDARD *standard = parameter;
    BOOL connected = FALSE;
    DWORD got;

    for (;;) {
        WaitForSingleObject(standard->emptied, INFINITE);
        for (;;) {
            got = 0;
            if (ReadFile(standard->input, standard->buffer, sizeof(standard->buffer), &got, NULL) && got != 0) {
                break;
            }
            if (!standard->patient || GetLastError() == ERROR_INVALID_HANDLE) {
                standard->ended = TRUE;
                SetEvent(standard->filled);
                return 0;
            }
            if (connected) {
                break; /* somebody was there until now */
            }
            Sleep(TRANSPORT_POLL_MS); /* nothing tells when somebody connects */
            SetLastError(ERROR_SUCCESS);
        }
        connected = got != 0;
        standard->held = got;
        SetEvent(standard->filled);
    }
}

static TRANSPORT_READ standard_read(TRANSPORT *transport, void *buffer, DWORD size, DWORD timeout_ms, DWORD *got)
{
    STANDARD *standard = (STANDARD *)transport;

    if (standard->left == 0) {
        /* Only the event says that the buffer is ours: its fields may have changed a moment before. */
        if (!standard->over && WaitForSingleObject(standard->filled, timeout_ms) != WAIT_OBJECT_0) {
            return TRANSPORT_QUIET;
        }
        if (standard->over || standard->ended) {
            standard->over = TRUE;
            return TRANSPORT_END;
        }
        if (standard->held == 0) {
            SetEvent(standard->emptied);
            return TRANSPORT_LEFT;
        }
        standard->left = standard->held;
        standard->taken = 0;
    }
    *got = standard->left < size ? standard->left : size;
    memcpy(buffer, standard->buffer + standard->taken, *got);
    standard->taken += *got;
    standard->left -= *got;
    if (standard->left == 0) {
        SetEvent(standard->emptied);
    }
    return TRANSPORT_DATA;
}

static BOOL standard_write(TRANSPORT *transport, const void *data, size_t size)
{
    STANDARD *standard = (STANDARD *)transport;
    const unsigned char *from = data;
    DWORD written, since = GetTickCount();

    while (size != 0) {
        written = 0;
        if (WriteFile(standard->output, from, size > 0x10000 ? 0x10000 : (DWORD)size, &written, NULL) &&
            written != 0) {
            from += written;
            size -= written;
            since = GetTickCount();
            continue;
        }
        if (!standard->patient || GetTickCount() - since > TRANSPORT_PATIENCE_MS) {
            return FALSE;
        }
        Sleep(TRANSPORT_POLL_MS);
    }
    return TRUE;
}

static void standard_close(TRANSPORT *transport)
{
    /* The pump may sit in ReadFile for ever; it and its buffer end with the process. */
    CloseHandle(((STANDARD *)transport)->output);
}

TRANSPORT *transport_open_standard(BOOL patient)
{
    STANDARD *standard = calloc(1, sizeof(*standard));
    HANDLE thread;

    if (standard == NULL) {
        return NULL;
    }
    standard->base.read = standard_read;
    standard->base.write = standard_write;
    standard->base.close = standard_close;
    standard->input = GetStdHandle(STD_INPUT_HANDLE);
    standard->output = GetStdHandle(STD_OUTPUT_HANDLE);
    standard->patient = patient;
    standard->filled = CreateEventW(NULL, FALSE, FALSE, NULL);
    standard->emptied = CreateEventW(NULL, FALSE, TRUE, NULL);
    if (standard->filled == NULL || standard->emptied == NULL) {
        free(standard);
        return NULL;
    }
    /* Commands that are run get pipes of their own and nothing of these. */
    SetHandleInformation(standard->input, HANDLE_FLAG_INHERIT, 0);
    SetHandleInformation(standard->output, HANDLE_FLAG_INHERIT, 0);
    thread = CreateThread(NULL, 0, pump, standard, 0, NULL);
    if (thread == NULL) {
        free(standard);
        return NULL;
    }
    CloseHandle(thread);
    return &standard->base;
}
