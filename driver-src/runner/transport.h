/* A byte stream to the host: stdin and stdout, or a port. Reading and writing don't wait for each other. */
#ifndef RUNNER_TRANSPORT_H
#define RUNNER_TRANSPORT_H

#include <windows.h>

typedef enum TRANSPORT_READ {
    TRANSPORT_DATA,
    TRANSPORT_QUIET, /* nothing within the time */
    TRANSPORT_LEFT,  /* nobody is at the other end any more; somebody may come */
    TRANSPORT_END    /* no byte will ever come again, or the runner is told to stop */
} TRANSPORT_READ;

/* Nobody takes what is written for so long: the rest of the frame is dropped, the reader finds the next one. */
#define TRANSPORT_PATIENCE_MS 10000
/* How often a device is asked again that can't be waited for. */
#define TRANSPORT_POLL_MS 50

typedef struct TRANSPORT TRANSPORT;

struct TRANSPORT {
    /* One thread reads, any number write; each `write` is one whole frame part, kept together by the caller. */
    TRANSPORT_READ (*read)(TRANSPORT *transport, void *buffer, DWORD size, DWORD timeout_ms, DWORD *got);
    BOOL (*write)(TRANSPORT *transport, const void *data, size_t size);
    void (*close)(TRANSPORT *transport);
};

/* stdin and stdout. With `patient` the end of stdin means that nobody is connected yet: a port of a virtual
 * machine's host, passed on by a system that has no overlapped reads for it. NULL when memory is out. */
TRANSPORT *transport_open_standard(BOOL patient);

/* A port by name: COM2, \\.\COM12, \\.\Global\org.regfilter.runner.0. A port that isn't there yet is waited
 * for at most `wait_ms`. `stop` ends waiting and reading. NULL with GetLastError() otherwise. */
TRANSPORT *transport_open_port(const wchar_t *name, HANDLE stop, DWORD wait_ms);

#endif
