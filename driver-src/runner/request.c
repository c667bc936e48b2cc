#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "devices.h"
#include "drivers.h"
#include "environment.h"
#include "execute.h"
#include "fields.h"
#include "files.h"
#include "open_keys.h"
#include "pool.h"
#include "power.h"
#include "program.h"
#include "program_hold.h"
#include "protocol.h"
#include "version.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_OFFSET 0x7FFFFFFFFFFFFFFFull
#define MAX_TIMEOUT_MS (24 * 60 * 60 * 1000) /* a tick count goes round after 49 days */
#define MAX_SERVICE_NAME 256
#define MAX_UNIX_US 0x00FFFFFFFFFFFFFFull /* year 4253; ten times as much still is a system time */

#define PATH {"path", FIELD_TEXT, TRUE, REGRUN_MAX_TEXT}
#define NAME {"name", FIELD_TEXT, TRUE, MAX_SERVICE_NAME}
#define HANDLE_OR_DEVICE {"handle", FIELD_UINT, FALSE, 0xFFFFFFFF}, {"device", FIELD_TEXT, FALSE, REGRUN_MAX_TEXT}

static const FIELD put_fields[] = {PATH,
                                   {"offset", FIELD_UINT, TRUE, MAX_OFFSET},
                                   {"data", FIELD_BYTES, TRUE, REGRUN_MAX_CHUNK},
                                   {"truncate", FIELD_BOOL, FALSE, 0}};
static const FIELD get_fields[] = {
    PATH, {"offset", FIELD_UINT, TRUE, MAX_OFFSET}, {"length", FIELD_UINT, TRUE, REGRUN_MAX_CHUNK}};
static const FIELD path_fields[] = {PATH};
static const FIELD execute_fields[] = {{"command_line", FIELD_TEXT, TRUE, REGRUN_MAX_TEXT},
                                       {"timeout_ms", FIELD_UINT, TRUE, MAX_TIMEOUT_MS},
                                       {"input", FIELD_BYTES, FALSE, REGRUN_MAX_PAYLOAD},
                                       {"folder", FIELD_TEXT, FALSE, REGRUN_MAX_TEXT},
                                       {"max_output", FIELD_UINT, FALSE, REGRUN_MAX_OUTPUT}};
static const FIELD create_fields[] = {NAME,
                                      PATH,
                                      {"parameters", FIELD_MAP, FALSE, REGRUN_MAX_PARAMETERS},
                                      {"file_system", FIELD_BOOL, FALSE, 0},
                                      {"group", FIELD_TEXT, FALSE, MAX_SERVICE_NAME}};
static const FIELD values_fields[] = {NAME,
                                      {"key", FIELD_TEXT, TRUE, MAX_SERVICE_NAME},
                                      {"values", FIELD_MAP, TRUE, REGRUN_MAX_PARAMETERS}};
static const FIELD name_fields[] = {NAME};
static const FIELD open_fields[] = {{"device", FIELD_TEXT, TRUE, REGRUN_MAX_TEXT}};
static const FIELD control_fields[] = {HANDLE_OR_DEVICE,
                                       {"code", FIELD_UINT, TRUE, 0xFFFFFFFF},
                                       {"data", FIELD_BYTES, TRUE, REGRUN_MAX_IO},
                                       {"output", FIELD_UINT, TRUE, REGRUN_MAX_IO}};
static const FIELD read_fields[] = {HANDLE_OR_DEVICE, {"length", FIELD_UINT, TRUE, REGRUN_MAX_IO}};
static const FIELD write_fields[] = {HANDLE_OR_DEVICE, {"data", FIELD_BYTES, TRUE, REGRUN_MAX_IO}};
static const FIELD close_fields[] = {{"handle", FIELD_UINT, TRUE, 0xFFFFFFFF}};
static const FIELD clock_fields[] = {{"unix_us", FIELD_UINT, TRUE, MAX_UNIX_US}};
static const FIELD crash_fields[] = {{"how", FIELD_TEXT, TRUE, 64}, {"code", FIELD_UINT, FALSE, 0xFFFFFFFF}};
static const FIELD shutdown_fields[] = {{"reboot", FIELD_BOOL, TRUE, 0}, {"force", FIELD_BOOL, FALSE, 0}};
static const FIELD tags_fields[] = {{"tags", FIELD_BYTES, TRUE, REGRUN_MAX_TAGS * POOL_TAG_SIZE}};
static const FIELD key_fields[] = {{"key", FIELD_TEXT, TRUE, REGRUN_MAX_TEXT}};

static void hello(const REQUEST *request, const VALUE *values, REPLY *reply)
{
    char build[RUNNER_VERSION_SIZE];

    (void)request;
    (void)values;
    runner_version(build);
    reply_uint(reply, "major", REGRUN_PROTOCOL_MAJOR);
    reply_uint(reply, "minor", REGRUN_PROTOCOL_MINOR);
    reply_uint(reply, "program_format", RUNNER_PROGRAM_FORMAT);
    reply_ascii(reply, "arch", sizeof(void *) == 8 ? "x64" : "x86");
    reply_uint(reply, "pointer_size", sizeof(void *));
    reply_uint(reply, "pid", GetCurrentProcessId());
    reply_uint(reply, "max_payload", REGRUN_MAX_PAYLOAD);
    reply_ascii(reply, "build", build);
}

typedef struct HANDLER {
    uint16_t type;
    void (*carry_out)(const REQUEST *request, const VALUE *values, REPLY *reply);
    const FIELD *fields;
    size_t count;
} HANDLER;

/* What every request takes; the keys' order is the one the handlers know them by. */
static const HANDLER handlers[] = {
    {REGRUN_HELLO, hello, NULL, 0},
    {REGRUN_ENVIRONMENT, environment, NULL, 0},
    {REGRUN_FILE_PUT, file_put, put_fields, COUNT(put_fields)},
    {REGRUN_FILE_GET, file_get, get_fields, COUNT(get_fields)},
    {REGRUN_FILE_DELETE, file_delete, path_fields, COUNT(path_fields)},
    {REGRUN_FILE_DIGEST, file_digest, path_fields, COUNT(path_fields)},
    {REGRUN_EXECUTE, execute, execute_fields, COUNT(execute_fields)},
    {REGRUN_SERVICE_CREATE, driver_create, create_fields, COUNT(create_fields)},
    {REGRUN_SERVICE_VALUES, driver_values, values_fields, COUNT(values_fields)},
    {REGRUN_SERVICE_START, driver_start, name_fields, COUNT(name_fields)},
    {REGRUN_SERVICE_STOP, driver_stop, name_fields, COUNT(name_fields)},
    {REGRUN_SERVICE_DELETE, driver_delete, name_fields, COUNT(name_fields)},
    {REGRUN_SERVICE_QUERY, driver_query, name_fields, COUNT(name_fields)},
    {REGRUN_DEVICE_OPEN, device_open, open_fields, COUNT(open_fields)},
    {REGRUN_DEVICE_CONTROL, device_control, control_fields, COUNT(control_fields)},
    {REGRUN_DEVICE_READ, device_read, read_fields, COUNT(read_fields)},
    {REGRUN_DEVICE_WRITE, device_write, write_fields, COUNT(write_fields)},
    {REGRUN_DEVICE_CLOSE, device_close, close_fields, COUNT(close_fields)},
    {REGRUN_CLOCK_SET, clock_set, clock_fields, COUNT(clock_fields)},
    {REGRUN_CRASH, crash, crash_fields, COUNT(crash_fields)},
    {REGRUN_SHUTDOWN, system_shutdown, shutdown_fields, COUNT(shutdown_fields)},
    {REGRUN_QUIESCE, quiesce, NULL, 0},
    {REGRUN_POOL_TAGS, pool_tags, tags_fields, COUNT(tags_fields)},
    {REGRUN_POOL_VERIFIED, pool_verified, NULL, 0},
    {REGRUN_OPEN_KEYS, open_keys, key_fields, COUNT(key_fields)},
};

static void encode_failure(const REPLY *reply, CBOR_WRITER *writer)
{
    cbor_put_map(writer, 4);
    cbor_put_text(writer, "error");
    cbor_put_unsigned(writer, reply->error);
    cbor_put_text(writer, "message");
    cbor_put_text(writer, reply->message);
    cbor_put_text(writer, "status");
    if (reply->has_status) {
        cbor_put_unsigned(writer, (uint32_t)reply->status);
    } else {
        cbor_put_null(writer);
    }
    cbor_put_text(writer, "win32");
    if (reply->has_win32) {
        cbor_put_unsigned(writer, reply->win32);
    } else {
        cbor_put_null(writer);
    }
}

/* A failure has room inside the answer, so that it can be told when memory is out. */
static void answer_failure(const REPLY *reply, ANSWER *answer)
{
    CBOR_WRITER writer;

    cbor_writer_init(&writer, sizeof(answer->inside));
    writer.data = answer->inside;
    writer.capacity = sizeof(answer->inside);
    encode_failure(reply, &writer);
    answer->type = REGRUN_FAILED;
    answer->data = answer->inside;
    answer->size = writer.size;
}

static void answer_reply(uint16_t type, REPLY *reply, ANSWER *answer)
{
    CBOR_WRITER whole;

    if (reply->error == 0 && reply->raw == NULL) {
        cbor_writer_init(&whole, REGRUN_MAX_PAYLOAD);
        cbor_put_map(&whole, reply->pairs);
        cbor_put_encoded(&whole, reply->body.data, reply->body.size);
        if (reply->body.failed || whole.failed) {
            cbor_writer_free(&whole);
            reply_fail(reply, REGRUN_ERROR_MEMORY, "no memory for the reply");
        } else {
            reply->raw = whole.data;
            reply->raw_size = whole.size;
        }
    }
    if (reply->error == 0 && reply->raw_size > REGRUN_MAX_PAYLOAD) {
        reply_fail(reply, REGRUN_ERROR_LIMIT, "the reply is longer than the protocol allows");
    }
    if (reply->error != 0) {
        free(reply->raw);
        answer_failure(reply, answer);
    } else {
        answer->type = type | REGRUN_REPLY;
        answer->data = reply->raw;
        answer->size = reply->raw_size;
    }
    cbor_writer_free(&reply->body);
}

static void begin_reply(REPLY *reply)
{
    memset(reply, 0, sizeof(*reply));
    cbor_writer_init(&reply->body, REGRUN_MAX_PAYLOAD);
}

static void run(const REQUEST *request, REPLY *reply)
{
    char message[sizeof(reply->message)] = "";
    int error = program_run(request->payload, request->size, &reply->raw, &reply->raw_size, message, sizeof(message));

    if (error != 0) {
        message[sizeof(message) - 1] = 0;
        reply->raw = NULL;
        reply_fail(reply, (unsigned)error, "%s", message);
    }
}

static void carry_out(const REQUEST *request, const HANDLER *handler, REPLY *reply)
{
    VALUE values[MAX_FIELDS];

    memset(values, 0, sizeof(values));
    if (fields_read(request, handler->fields, handler->count, values, reply)) {
        handler->carry_out(request, values, reply);
    }
    fields_free(values, handler->count);
}

void request_answer(const REQUEST *request, ANSWER *answer)
{
    const HANDLER *handler = handlers, *end = handlers + COUNT(handlers);
    REPLY reply;

    begin_reply(&reply);
    while (handler != end && handler->type != request->type) {
        handler++;
    }
    if (request->major != REGRUN_PROTOCOL_MAJOR && request->type != REGRUN_HELLO) {
        reply_fail(&reply, REGRUN_ERROR_PROTOCOL, "protocol %u; this runner speaks %d.%d", request->major,
                   REGRUN_PROTOCOL_MAJOR, REGRUN_PROTOCOL_MINOR);
    } else if (request->major != REGRUN_PROTOCOL_MAJOR) {
        hello(request, NULL, &reply); /* whatever its payload is in another version */
    } else if (request->type == REGRUN_RUN) {
        run(request, &reply);
    } else if (request->type == REGRUN_HOLD) {
        reply_fail(&reply, REGRUN_ERROR_UNSUPPORTED, "no program runs beside requests that come as files");
    } else if (handler == end) {
        reply_fail(&reply, REGRUN_ERROR_UNKNOWN_REQUEST, "no request has type %u", request->type);
    } else {
        carry_out(request, handler, &reply);
    }
    answer_reply(request->type, &reply, answer);
}

void request_refuse(ANSWER *answer, unsigned error, const char *message)
{
    REPLY reply;

    begin_reply(&reply);
    reply_fail(&reply, error, "%s", message);
    answer_reply(0, &reply, answer);
}

void answer_free(ANSWER *answer)
{
    if (answer->data != answer->inside) {
        free(answer->data);
    }
    answer->data = NULL;
}

BOOL cancel_decode(const REQUEST *request, uint32_t *id, ANSWER *answer)
{
    static const FIELD fields[] = {{"id", FIELD_UINT, TRUE, 0xFFFFFFFF}};
    VALUE value;
    REPLY reply;

    memset(&value, 0, sizeof(value));
    begin_reply(&reply);
    if (!fields_read(request, fields, 1, &value, &reply)) {
        answer_reply(REGRUN_CANCEL, &reply, answer);
        return FALSE;
    }
    cbor_writer_free(&reply.body);
    *id = (uint32_t)value.number;
    return TRUE;
}

void cancel_encode(ANSWER *answer, BOOL found)
{
    REPLY reply;

    begin_reply(&reply);
    reply_bool(&reply, "found", found);
    answer_reply(REGRUN_CANCEL, &reply, answer);
}

void request_hold(const REQUEST *request, ANSWER *answer)
{
    static const FIELD fields[] = {{"before", FIELD_UINT, FALSE, HOLD_NOWHERE}, {"statuses", FIELD_BOOL, FALSE, 0}};
    VALUE values[COUNT(fields)];
    REPLY reply;

    memset(values, 0, sizeof(values));
    begin_reply(&reply);
    if (fields_read(request, fields, COUNT(fields), values, &reply)) {
        if (values[0].given) {
            hold_set((uint32_t)values[0].number);
        }
        hold_tell(&reply, values[1].number != 0);
    }
    answer_reply(REGRUN_HOLD, &reply, answer);
}
