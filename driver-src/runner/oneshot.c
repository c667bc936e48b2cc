#include "oneshot.h"

#include <stdlib.h>

#include "protocol.h"
#include "request.h"
#include "runner.h"

static int complain(const char *what, const wchar_t *path)
{
    say("%s %ls: error %lu", what, path, GetLastError());
    return RUNNER_EXIT_FAILED;
}

static BOOL write_all(HANDLE file, const void *data, size_t size)
{
    const unsigned char *from = data;
    DWORD written;

    while (size != 0) {
        if (!WriteFile(file, from, size > 0x100000 ? 0x100000 : (DWORD)size, &written, NULL) || written == 0) {
            return FALSE;
        }
        from += written;
        size -= written;
    }
    return TRUE;
}

static BOOL write_frame(HANDLE file, uint16_t type, uint32_t id, const void *payload, size_t size)
{
    unsigned char header[FRAME_HEADER_SIZE];

    frame_encode_header(header, type, id, payload, size);
    return write_all(file, header, sizeof(header)) && write_all(file, payload, size);
}

static BOOL answer_frame(HANDLE replies, FRAME_FOUND found, const FRAME *frame)
{
    REQUEST request = {frame->major, frame->type, frame->id, frame->payload, frame->length, NULL};
    ANSWER answer;
    uint32_t id;
    BOOL written;

    if (found == FRAME_TOO_LONG) {
        request_refuse(&answer, REGRUN_ERROR_LIMIT, "the payload is longer than the protocol allows");
    } else if (frame->major == REGRUN_PROTOCOL_MAJOR && frame->type == REGRUN_PING) {
        return write_frame(replies, REGRUN_PING | REGRUN_REPLY, frame->id, frame->payload, frame->length);
    } else if (frame->major == REGRUN_PROTOCOL_MAJOR && frame->type == REGRUN_CANCEL) {
        /* Everything before it has ended. */
        if (cancel_decode(&request, &id, &answer)) {
            cancel_encode(&answer, FALSE);
        }
    } else {
        request_answer(&request, &answer);
    }
    written = write_frame(replies, answer.type, frame->id, answer.data, answer.size);
    answer_free(&answer);
    return written;
}

static BOOL answer_file(HANDLE requests, HANDLE replies)
{
    FRAME_READER reader;
    FRAME_FOUND found;
    FRAME frame;
    unsigned char *space;
    BOOL fine = TRUE;
    size_t size;
    DWORD got = 1;

    frame_reader_init(&reader);
    while (fine && (got != 0 || frame_reader_is_amid(&reader))) {
        if (got == 0) {
            /* The file's end is what a stall is on a stream. */
            frame_reader_give_up(&reader, &frame);
        } else {
            space = frame_reader_space(&reader, &size);
            fine = space != NULL && ReadFile(requests, space, size > 0x100000 ? 0x100000 : (DWORD)size, &got, NULL);
            if (fine) {
                frame_reader_filled(&reader, got);
            }
        }
        while (fine && (found = frame_reader_next(&reader, &frame)) != FRAME_NONE) {
            fine = answer_frame(replies, found, &frame);
        }
    }
    frame_reader_free(&reader);
    return fine;
}

int oneshot_requests(const wchar_t *requests, const wchar_t *replies)
{
    HANDLE from, to;
    BOOL fine;

    from = CreateFileW(requests, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    if (from == INVALID_HANDLE_VALUE) {
        return complain("can't read", requests);
    }
    to = CreateFileW(replies, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (to == INVALID_HANDLE_VALUE) {
        CloseHandle(from);
        return complain("can't write", replies);
    }
    fine = answer_file(from, to);
    CloseHandle(from);
    CloseHandle(to);
    return fine ? RUNNER_EXIT_OK : complain("stopped before the end of", requests);
}

/* Bytes from one handle to another, at most `limit`. */
static BOOL copy(HANDLE from, HANDLE to, unsigned __int64 limit)
{
    static unsigned char buffer[0x10000];
    DWORD got;

    while (limit != 0) {
        if (!ReadFile(from, buffer, limit < sizeof(buffer) ? (DWORD)limit : sizeof(buffer), &got, NULL)) {
            return GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_HANDLE_EOF;
        }
        if (got == 0) {
            return TRUE;
        }
        if (!write_all(to, buffer, got)) {
            return FALSE;
        }
        limit -= got;
    }
    return TRUE;
}

static HANDLE open_at(const wchar_t *path, DWORD access, DWORD disposition, unsigned __int64 offset)
{
    LARGE_INTEGER position;
    HANDLE file = CreateFileW(path, access, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, disposition, 0, NULL);

    position.QuadPart = (LONGLONG)offset;
    if (file != INVALID_HANDLE_VALUE && !SetFilePointerEx(file, position, NULL, FILE_BEGIN)) {
        CloseHandle(file);
        file = INVALID_HANDLE_VALUE;
    }
    return file;
}

int oneshot_write(const wchar_t *path, unsigned __int64 offset)
{
    HANDLE file = open_at(path, GENERIC_WRITE, OPEN_ALWAYS, offset);
    BOOL fine;

    if (file == INVALID_HANDLE_VALUE) {
        return complain("can't write", path);
    }
    fine = copy(GetStdHandle(STD_INPUT_HANDLE), file, ~0ull);
    CloseHandle(file);
    return fine ? RUNNER_EXIT_OK : complain("stopped writing", path);
}

int oneshot_read(const wchar_t *path, unsigned __int64 offset, unsigned __int64 length)
{
    HANDLE file = open_at(path, GENERIC_READ, OPEN_EXISTING, offset);
    BOOL fine;

    if (file == INVALID_HANDLE_VALUE) {
        return complain("can't read", path);
    }
    fine = copy(file, GetStdHandle(STD_OUTPUT_HANDLE), length);
    CloseHandle(file);
    return fine ? RUNNER_EXIT_OK : complain("stopped reading", path);
}
