#include "devices.h"

#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "protocol.h"

#define OBJ_CASE_INSENSITIVE_ 0x40
#define FILE_OPEN_ 1
#define FILE_SYNCHRONOUS_IO_NONALERT_ 0x20

/* Handles of the runner's own numbers, 1 and up: index + 1. Used by the worker alone. */
static HANDLE devices[REGRUN_MAX_DEVICES];

/* \\.\Name and \\?\Name are \??\Name to the kernel, so is a bare name; what begins with one \ is native already. */
static wchar_t *native_path(const wchar_t *name)
{
    static const wchar_t root[] = L"\\??\\";
    BOOL dos = wcsncmp(name, L"\\\\.\\", 4) == 0 || wcsncmp(name, L"\\\\?\\", 4) == 0;
    const wchar_t *rest = dos ? name + 4 : name;
    size_t before = !dos && name[0] == L'\\' ? 0 : wcslen(root);
    wchar_t *path = malloc((before + wcslen(rest) + 1) * sizeof(wchar_t));

    if (path != NULL) {
        memcpy(path, root, before * sizeof(wchar_t));
        memcpy(path + before, rest, (wcslen(rest) + 1) * sizeof(wchar_t));
    }
    return path;
}

/* FALSE with the failure in `reply`; a refusal by the device is no failure but *status. */
static BOOL open_device(const wchar_t *name, HANDLE *handle, NT_STATUS *status, REPLY *reply)
{
    NT_ATTRIBUTES attributes = {sizeof(attributes), NULL, NULL, OBJ_CASE_INSENSITIVE_, NULL, NULL};
    NT_IO_STATUS io = {{0}, 0};
    NT_STRING string;
    wchar_t *path;

    if (native()->create_file == NULL || native()->close == NULL) {
        reply_fail(reply, REGRUN_ERROR_UNSUPPORTED, "this system has no NtCreateFile");
        return FALSE;
    }
    path = native_path(name);
    if (path == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the device's path");
        return FALSE;
    }
    if (wcslen(path) > REGRUN_MAX_TEXT) {
        free(path);
        reply_fail(reply, REGRUN_ERROR_LIMIT, "the device's path is too long");
        return FALSE;
    }
    native_string(&string, path);
    attributes.name = &string;
    *handle = NULL;
    *status = native()->create_file(handle, GENERIC_READ | GENERIC_WRITE | SYNCHRONIZE, &attributes, &io, NULL, 0,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN_, FILE_SYNCHRONOUS_IO_NONALERT_,
                                    NULL, 0);
    free(path);
    return TRUE;
}

void device_open(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    NT_STATUS status;
    HANDLE handle;
    unsigned slot;

    (void)request;
    for (slot = 0; slot < REGRUN_MAX_DEVICES && devices[slot] != NULL; slot++) {
    }
    if (slot == REGRUN_MAX_DEVICES) {
        reply_fail(reply, REGRUN_ERROR_LIMIT, "%d devices are open; close one first", REGRUN_MAX_DEVICES);
        return;
    }
    if (!open_device(values[0].text, &handle, &status, reply)) {
        return;
    }
    if (NT_IS_SUCCESS(status)) {
        devices[slot] = handle;
    }
    reply_uint(reply, "status", (ULONG)status);
    reply_uint(reply, "handle", NT_IS_SUCCESS(status) ? slot + 1 : 0);
}

static HANDLE *device_slot(const VALUE *handle, REPLY *reply)
{
    if (handle->number == 0 || handle->number > REGRUN_MAX_DEVICES || devices[handle->number - 1] == NULL) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "no open device has this handle");
        return NULL;
    }
    return &devices[handle->number - 1];
}

typedef struct TRANSFER {
    enum { TRANSFER_CONTROL, TRANSFER_READ, TRANSFER_WRITE } kind;
    ULONG code;
    const VALUE *input;
    ULONG output;
} TRANSFER;

static NT_STATUS carry_out(const TRANSFER *transfer, HANDLE handle, HANDLE event, unsigned char *output,
                           NT_IO_STATUS *io)
{
    LARGE_INTEGER start = {{0, 0}};
    const void *input = transfer->input == NULL ? NULL : transfer->input->bytes;
    ULONG size = transfer->input == NULL ? 0 : (ULONG)transfer->input->size;
    NT_STATUS status;

    switch (transfer->kind) {
    case TRANSFER_READ:
        status = native()->read_file(handle, event, NULL, NULL, io, output, transfer->output, &start, NULL);
        break;
    case TRANSFER_WRITE:
        status = native()->write_file(handle, event, NULL, NULL, io, input, size, &start, NULL);
        break;
    default:
        status = native()->device_control(handle, event, NULL, NULL, io, transfer->code, size == 0 ? NULL : input,
                                          size, transfer->output == 0 ? NULL : output, transfer->output);
        break;
    }
    if (status == STATUS_PENDING_) {
        WaitForSingleObject(event, INFINITE);
        status = io->status;
    }
    return status;
}

/* On an open device, or one that is opened for this request alone. */
static void transfer_to(const VALUE *handle, const VALUE *device, const TRANSFER *transfer, REPLY *reply)
{
    NT_STATUS status;
    NT_IO_STATUS io = {{0}, 0};
    unsigned char *output;
    HANDLE opened, event, *slot = NULL;
    size_t filled;

    if (handle->given == device->given) {
        reply_fail(reply, REGRUN_ERROR_MALFORMED, "name either a handle or a device");
        return;
    }
    if (handle->given) {
        slot = device_slot(handle, reply);
        if (slot == NULL) {
            return;
        }
        opened = *slot;
    } else {
        if (!open_device(device->text, &opened, &status, reply)) {
            return;
        }
        if (!NT_IS_SUCCESS(status)) {
            reply_fail_status(reply, "the device was not opened", status);
            return;
        }
    }
    output = calloc(1, (size_t)transfer->output + 1);
    event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (output == NULL || event == NULL) {
        reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the device's answer");
    } else {
        status = carry_out(transfer, opened, event, output, &io);
        /* After an error the buffer means nothing; a warning (STATUS_BUFFER_OVERFLOW) comes with data. */
        filled = NT_IS_ERROR(status) ? 0 : io.information < transfer->output ? io.information : transfer->output;
        reply_uint(reply, "status", (ULONG)status);
        reply_uint(reply, "information", io.information);
        reply_bytes(reply, "data", output, filled);
    }
    free(output);
    if (event != NULL) {
        CloseHandle(event);
    }
    if (slot == NULL) {
        native()->close(opened);
    }
}

/* handle, device, code, data, output */
void device_control(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    TRANSFER transfer = {TRANSFER_CONTROL, (ULONG)values[2].number, &values[3], (ULONG)values[4].number};

    (void)request;
    transfer_to(&values[0], &values[1], &transfer, reply);
}

/* handle, device, length */
void device_read(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    TRANSFER transfer = {TRANSFER_READ, 0, NULL, (ULONG)values[2].number};

    (void)request;
    transfer_to(&values[0], &values[1], &transfer, reply);
}

/* handle, device, data */
void device_write(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    TRANSFER transfer = {TRANSFER_WRITE, 0, &values[2], 0};

    (void)request;
    transfer_to(&values[0], &values[1], &transfer, reply);
}

/* handle */
void device_close(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    HANDLE *slot = device_slot(&values[0], reply);

    (void)request;
    if (slot != NULL) {
        native()->close(*slot);
        *slot = NULL;
    }
}
