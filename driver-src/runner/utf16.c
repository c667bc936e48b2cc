#include "utf16.h"

#define REPLACEMENT 0xFFFD

static bool is_high(uint32_t unit)
{
    return unit >= 0xD800 && unit < 0xDC00;
}

static bool is_low(uint32_t unit)
{
    return unit >= 0xDC00 && unit < 0xE000;
}

/* Bytes of the sequence that begins with `first`; 0 for none. */
static unsigned sequence(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

bool utf8_is_valid(const unsigned char *text, size_t size)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t at = 0;

    while (at < size) {
        unsigned count = sequence(text[at]), index;
        uint32_t code;

        if (count == 1) {
            at++;
            continue;
        }
        if (count == 0 || count > size - at) {
            return false;
        }
        code = text[at] & (0x7Fu >> count);
        for (index = 1; index < count; index++) {
            if ((text[at + index] & 0xC0) != 0x80) {
                return false;
            }
            code = code << 6 | (text[at + index] & 0x3Fu);
        }
        if (code < smallest[count] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
            return false;
        }
        at += count;
    }
    return true;
}

/* A sequence of 4 bytes is a pair of units, every other one is a unit. */
size_t utf16_units(const unsigned char *text, size_t size)
{
    size_t at, units = 0;

    for (at = 0; at < size; at++) {
        units += (text[at] & 0xC0) != 0x80;
        units += text[at] >= 0xF0;
    }
    return units;
}

void utf16_from_utf8(utf16_t *to, const unsigned char *text, size_t size)
{
    size_t at = 0;

    while (at < size) {
        unsigned count = sequence(text[at]), index;
        uint32_t code = count == 1 ? text[at] : text[at] & (0x7Fu >> count);

        for (index = 1; index < count; index++) {
            code = code << 6 | (text[at + index] & 0x3Fu);
        }
        if (code > 0xFFFF) {
            *to++ = (utf16_t)(0xD800 + ((code - 0x10000) >> 10));
            *to++ = (utf16_t)(0xDC00 + ((code - 0x10000) & 0x3FF));
        } else {
            *to++ = (utf16_t)code;
        }
        at += count != 0 ? count : 1;
    }
}

bool utf16_is_paired(const utf16_t *text, size_t units)
{
    size_t at;

    for (at = 0; at < units; at++) {
        if (is_high(text[at]) && at + 1 < units && is_low(text[at + 1])) {
            at++;
        } else if (is_high(text[at]) || is_low(text[at])) {
            return false;
        }
    }
    return true;
}

/* The character at *at, which moves on. */
static uint32_t next_code(const utf16_t *text, size_t units, size_t *at)
{
    uint32_t unit = text[(*at)++];

    if (is_high(unit) && *at < units && is_low(text[*at])) {
        return 0x10000 + ((unit - 0xD800) << 10) + (text[(*at)++] - 0xDC00u);
    }
    return is_high(unit) || is_low(unit) ? REPLACEMENT : unit;
}

size_t utf8_size(const utf16_t *text, size_t units)
{
    size_t at = 0, size = 0;

    while (at < units) {
        uint32_t code = next_code(text, units, &at);

        size += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    }
    return size;
}

void utf8_from_utf16(unsigned char *to, const utf16_t *text, size_t units)
{
    size_t at = 0;

    while (at < units) {
        uint32_t code = next_code(text, units, &at);

        if (code < 0x80) {
            *to++ = (unsigned char)code;
            continue;
        }
        if (code < 0x800) {
            *to++ = (unsigned char)(0xC0 | code >> 6);
        } else {
            if (code < 0x10000) {
                *to++ = (unsigned char)(0xE0 | code >> 12);
            } else {
                *to++ = (unsigned char)(0xF0 | code >> 18);
                *to++ = (unsigned char)(0x80 | (code >> 12 & 0x3F));
            }
            *to++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        }
        *to++ = (unsigned char)(0x80 | (code & 0x3F));
    }
}
