#include "reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "protocol.h"

void reply_key(REPLY *reply, const char *key)
{
    cbor_put_text(&reply->body, key);
    reply->pairs++;
}

void reply_uint(REPLY *reply, const char *key, uint64_t value)
{
    reply_key(reply, key);
    cbor_put_unsigned(&reply->body, value);
}

void reply_bool(REPLY *reply, const char *key, BOOL value)
{
    reply_key(reply, key);
    cbor_put_bool(&reply->body, value != FALSE);
}

void reply_null(REPLY *reply, const char *key)
{
    reply_key(reply, key);
    cbor_put_null(&reply->body);
}

void reply_bytes(REPLY *reply, const char *key, const void *data, size_t size)
{
    reply_key(reply, key);
    cbor_put_bytes(&reply->body, data, size);
}

void reply_ascii(REPLY *reply, const char *key, const char *text)
{
    reply_key(reply, key);
    cbor_put_text(&reply->body, text);
}

void reply_text(REPLY *reply, const char *key, const wchar_t *text)
{
    reply_key(reply, key);
    if (text == NULL) {
        cbor_put_null(&reply->body);
    } else {
        reply_item_text(reply, text);
    }
}

void reply_item_text(REPLY *reply, const wchar_t *text)
{
    cbor_put_utf16(&reply->body, text, wcslen(text));
}

void reply_fail(REPLY *reply, unsigned error, const char *text, ...)
{
    va_list arguments;

    if (reply->error != 0) {
        return;
    }
    reply->error = error;
    va_start(arguments, text);
    _vsnprintf(reply->message, sizeof(reply->message) - 1, text, arguments);
    va_end(arguments);
}

void reply_fail_win32(REPLY *reply, const char *what, DWORD win32)
{
    if (reply->error == 0) {
        reply->has_win32 = TRUE;
        reply->win32 = win32;
    }
    reply_fail(reply, REGRUN_ERROR_SYSTEM, "%s: error %lu", what, win32);
}

void reply_fail_status(REPLY *reply, const char *what, LONG status)
{
    if (reply->error == 0) {
        reply->has_status = TRUE;
        reply->status = status;
    }
    reply_fail(reply, REGRUN_ERROR_SYSTEM, "%s: status 0x%08lX", what, (unsigned long)status);
}
