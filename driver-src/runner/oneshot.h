/* Without a stream: requests from a file, and files written and read in parts; for channels that only run commands. */
#ifndef RUNNER_ONESHOT_H
#define RUNNER_ONESHOT_H

#include <windows.h>

/* Carry out the frames of the file `requests`, and write the replies' frames to `replies` when all are done. */
int oneshot_requests(const wchar_t *requests, const wchar_t *replies);

/* stdin into `path` from `offset` on; the file is made when missing and not cut. */
int oneshot_write(const wchar_t *path, unsigned __int64 offset);

/* `length` bytes of `path` from `offset` on, to stdout; fewer at the end of the file. */
int oneshot_read(const wchar_t *path, unsigned __int64 offset, unsigned __int64 length);

#endif
