/*
 * A COM port or a virtio-serial port as a transport.
 *
 * The two differ in what a read without data does: a UART's waits, a virtio-serial port's fails at once with
 * ERROR_NO_SYSTEM_RESOURCES while nobody is connected to the host's end (so says the source of its driver). A
 * read stays pending over time-outs, since some serial drivers can't cancel one.
 */
#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "transport.h"

#define WRITE_SIZE 0x4000      /* virtio-serial takes 32 KB in one request at most */
#define QUEUE_SIZE 0x10000     /* of the serial driver; what doesn't fit is lost without flow control */
#define FAILURES_TO_REOPEN 40  /* in a row, TRANSPORT_POLL_MS apart */
#define OPEN_POLL_MS 250
#define READ_MS (60 * 60 * 1000) /* a read ends without a byte then, and the next begins */

typedef struct PORT {
    TRANSPORT base;
    wchar_t *path;
    HANDLE stop, handle;
    CRITICAL_SECTION lock; /* `handle` while it is written to or replaced */
    OVERLAPPED reading, writing;
    BOOL pending;      /* a read is under way into `buffer` */
    BOOL connected;    /* bytes came since somebody was last seen to have left */
    int failures;      /* reads in a row */
    DWORD held, taken; /* bytes in `buffer`, and how many the reader has had */
    unsigned char buffer[0x10000];
} PORT;

/* A UART is told its speed and to hand over what it has; anything else has no such state and needs none. */
static void set_line(HANDLE handle)
{
    /* "Any byte that is there, else the first that comes": Microsoft's COMMTIMEOUTS page. */
    COMMTIMEOUTS timeouts = {MAXDWORD, MAXDWORD, READ_MS, 0, TRANSPORT_PATIENCE_MS};
    DCB line;

    memset(&line, 0, sizeof(line));
    line.DCBlength = sizeof(line);
    if (!GetCommState(handle, &line)) {
        return;
    }
    SetupComm(handle, QUEUE_SIZE, QUEUE_SIZE);
    line.BaudRate = CBR_115200;
    line.ByteSize = 8;
    line.Parity = NOPARITY;
    line.StopBits = ONESTOPBIT;
    line.fBinary = TRUE;
    line.fParity = FALSE;
    line.fOutxCtsFlow = line.fOutxDsrFlow = line.fDsrSensitivity = FALSE;
    line.fOutX = line.fInX = line.fErrorChar = line.fNull = line.fAbortOnError = FALSE;
    line.fDtrControl = DTR_CONTROL_ENABLE;
    line.fRtsControl = RTS_CONTROL_ENABLE;
    SetCommState(handle, &line);
    if (native_is_wine()) {
        /* Wine waits for a full buffer then, and for the first byte where Windows would not wait at all. */
        timeouts.ReadTotalTimeoutMultiplier = timeouts.ReadTotalTimeoutConstant = 0;
    }
    SetCommTimeouts(handle, &timeouts);
}

static BOOL open_port(PORT *port, DWORD wait_ms)
{
    DWORD since = GetTickCount(), error;

    for (;;) {
        port->handle = CreateFileW(port->path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                                   FILE_FLAG_OVERLAPPED, NULL);
        if (port->handle != INVALID_HANDLE_VALUE) {
            set_line(port->handle);
            return TRUE;
        }
        error = GetLastError();
        if (GetTickCount() - since >= wait_ms || WaitForSingleObject(port->stop, OPEN_POLL_MS) == WAIT_OBJECT_0) {
            SetLastError(error);
            return FALSE;
        }
    }
}

static void begin_read(PORT *port)
{
    HANDLE event = port->reading.hEvent;

    memset(&port->reading, 0, sizeof(port->reading));
    port->reading.hEvent = event;
    ResetEvent(event);
    /* Also a read that ends at once sets the event. */
    port->pending = ReadFile(port->handle, port->buffer, sizeof(port->buffer), NULL, &port->reading) ||
                    GetLastError() == ERROR_IO_PENDING;
}

/* After a failed read: wait a little, and open the port anew when it seems gone. FALSE when told to stop. */
static BOOL recover(PORT *port, DWORD error)
{
    BOOL there = TRUE;

    if (WaitForSingleObject(port->stop, TRANSPORT_POLL_MS) == WAIT_OBJECT_0) {
        return FALSE;
    }
    if (error == ERROR_NO_SYSTEM_RESOURCES || ++port->failures < FAILURES_TO_REOPEN) {
        return TRUE;
    }
    port->failures = 0;
    EnterCriticalSection(&port->lock);
    CloseHandle(port->handle);
    there = open_port(port, INFINITE);
    LeaveCriticalSection(&port->lock);
    return there;
}

static TRANSPORT_READ port_read(TRANSPORT *transport, void *buffer, DWORD size, DWORD timeout_ms, DWORD *got)
{
    PORT *port = (PORT *)transport;
    HANDLE events[2] = {port->stop, port->reading.hEvent};
    DWORD since = GetTickCount(), passed, error;

    while (port->taken == port->held) {
        passed = GetTickCount() - since;
        if (timeout_ms != INFINITE && passed > timeout_ms) {
            return TRANSPORT_QUIET;
        }
        if (!port->pending) {
            begin_read(port);
        }
        if (port->pending) {
            switch (WaitForMultipleObjects(2, events, FALSE, timeout_ms == INFINITE ? INFINITE : timeout_ms - passed)) {
            case WAIT_OBJECT_0:
                return TRANSPORT_END;
            case WAIT_TIMEOUT:
                return TRANSPORT_QUIET;
            default:
                break;
            }
            port->pending = FALSE;
            port->taken = port->held = 0;
            if (GetOverlappedResult(port->handle, &port->reading, &port->held, FALSE)) {
                port->failures = 0; /* a UART's time-out ends a read without a byte; that is no failure */
                port->connected |= port->held != 0;
                continue;
            }
            port->held = 0;
        }
        error = GetLastError();
        if (!recover(port, error)) {
            return TRANSPORT_END;
        }
        if (error == ERROR_NO_SYSTEM_RESOURCES && port->connected) {
            port->connected = FALSE;
            return TRANSPORT_LEFT;
        }
    }
    *got = port->held - port->taken;
    if (*got > size) {
        *got = size;
    }
    memcpy(buffer, port->buffer + port->taken, *got);
    port->taken += *got;
    return TRANSPORT_DATA;
}

/* One request, waited for within patience. */
static BOOL write_some(PORT *port, const void *data, DWORD size, DWORD *written)
{
    HANDLE event = port->writing.hEvent;

    *written = 0;
    memset(&port->writing, 0, sizeof(port->writing));
    port->writing.hEvent = event;
    ResetEvent(event);
    if (!WriteFile(port->handle, data, size, NULL, &port->writing)) {
        if (GetLastError() != ERROR_IO_PENDING) {
            return FALSE;
        }
        if (WaitForSingleObject(event, TRANSPORT_PATIENCE_MS) != WAIT_OBJECT_0) {
            /* Ends this thread's requests, a pending read among them where the reader writes: it reads again. */
            CancelIo(port->handle);
        }
    }
    return GetOverlappedResult(port->handle, &port->writing, written, TRUE);
}

static BOOL port_write(TRANSPORT *transport, const void *data, size_t size)
{
    PORT *port = (PORT *)transport;
    const unsigned char *from = data;
    DWORD written, since = GetTickCount();

    EnterCriticalSection(&port->lock);
    while (size != 0) {
        if (write_some(port, from, size > WRITE_SIZE ? WRITE_SIZE : (DWORD)size, &written) && written != 0) {
            from += written;
            size -= written;
            since = GetTickCount();
        } else if (GetTickCount() - since > TRANSPORT_PATIENCE_MS ||
                   WaitForSingleObject(port->stop, TRANSPORT_POLL_MS) == WAIT_OBJECT_0) {
            break;
        }
    }
    LeaveCriticalSection(&port->lock);
    return size == 0;
}

static void port_close(TRANSPORT *transport)
{
    PORT *port = (PORT *)transport;

    /* The read that may be pending writes to `port`: it ends with the handle, at the latest with the process. */
    CancelIo(port->handle);
    CloseHandle(port->handle);
}

static wchar_t *device_path(const wchar_t *name)
{
    static const wchar_t prefix[] = L"\\\\.\\";
    size_t length = wcslen(name), before = name[0] == L'\\' ? 0 : wcslen(prefix);
    wchar_t *path = malloc((before + length + 1) * sizeof(wchar_t));

    if (path != NULL) {
        memcpy(path, prefix, before * sizeof(wchar_t));
        memcpy(path + before, name, (length + 1) * sizeof(wchar_t));
    }
    return path;
}

TRANSPORT *transport_open_port(const wchar_t *name, HANDLE stop, DWORD wait_ms)
{
    PORT *port = calloc(1, sizeof(*port));

    if (port == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    port->base.read = port_read;
    port->base.write = port_write;
    port->base.close = port_close;
    port->stop = stop;
    port->path = device_path(name);
    port->reading.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    port->writing.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (port->path == NULL || port->reading.hEvent == NULL || port->writing.hEvent == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL; /* the process ends now */
    }
    InitializeCriticalSection(&port->lock);
    if (!open_port(port, wait_ms)) {
        return NULL;
    }
    return &port->base;
}
