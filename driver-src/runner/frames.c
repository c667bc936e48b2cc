#include "frames.h"

#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "protocol.h"

#define MAGIC_SIZE 4
#define READ_SIZE 0x10000        /* room offered for one read */
#define KEPT_CAPACITY 0x100000   /* a larger buffer is given back when it runs empty */

static const unsigned char magic[MAGIC_SIZE] = {
    REGRUN_MAGIC & 0xFF, REGRUN_MAGIC >> 8 & 0xFF, REGRUN_MAGIC >> 16 & 0xFF, REGRUN_MAGIC >> 24 & 0xFF};

static uint32_t get32(const unsigned char *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static void put32(unsigned char *to, uint32_t value)
{
    to[0] = (unsigned char)value;
    to[1] = (unsigned char)(value >> 8);
    to[2] = (unsigned char)(value >> 16);
    to[3] = (unsigned char)(value >> 24);
}

void frame_reader_init(FRAME_READER *reader)
{
    memset(reader, 0, sizeof(*reader));
}

void frame_reader_free(FRAME_READER *reader)
{
    free(reader->data);
    frame_reader_init(reader);
}

unsigned char *frame_reader_space(FRAME_READER *reader, size_t *size)
{
    size_t held = reader->end - reader->start, capacity = reader->capacity;
    unsigned char *larger;

    if (held == 0 && capacity > KEPT_CAPACITY) {
        frame_reader_free(reader);
        capacity = 0;
    }
    if (reader->start != 0 && (held == 0 || reader->start >= capacity / 2)) {
        memmove(reader->data, reader->data + reader->start, held);
        reader->start = 0;
        reader->end = held;
    }
    if (capacity - reader->end < READ_SIZE) {
        /* Grow as bytes really come, not by what a header announces. */
        capacity = capacity < READ_SIZE ? 2 * READ_SIZE : capacity * 2;
        larger = realloc(reader->data, capacity);
        if (larger == NULL) {
            return NULL;
        }
        reader->data = larger;
        reader->capacity = capacity;
    }
    *size = reader->capacity - reader->end;
    return reader->data + reader->end;
}

void frame_reader_filled(FRAME_READER *reader, size_t size)
{
    reader->end += size;
}

/* Move `start` to the next bytes that may begin a frame. */
static void find_magic(FRAME_READER *reader)
{
    unsigned char *at = reader->data + reader->start, *end = reader->data + reader->end;
    size_t left, compared;

    for (; at != end; at++) {
        at = memchr(at, magic[0], (size_t)(end - at));
        if (at == NULL) {
            at = end;
            break;
        }
        left = (size_t)(end - at);
        compared = left < MAGIC_SIZE ? left : MAGIC_SIZE;
        if (memcmp(at, magic, compared) == 0) {
            break;
        }
    }
    reader->start = (size_t)(at - reader->data);
}

static void describe(const unsigned char *header, FRAME *frame)
{
    frame->major = header[4];
    frame->type = (uint16_t)(header[6] | header[7] << 8);
    frame->id = get32(header + 8);
    frame->length = get32(header + 12);
    frame->payload = NULL;
}

FRAME_FOUND frame_reader_next(FRAME_READER *reader, FRAME *frame)
{
    const unsigned char *header;

    for (;;) {
        if (reader->start == reader->end) {
            reader->start = reader->end = reader->wanted = 0;
            return FRAME_NONE;
        }
        if (reader->wanted == 0) {
            find_magic(reader);
            if (reader->end - reader->start < FRAME_HEADER_SIZE) {
                return FRAME_NONE;
            }
            header = reader->data + reader->start;
            if (crc32_update(0, header, FRAME_HEADER_SIZE - 4) != get32(header + 20)) {
                reader->start += MAGIC_SIZE;
                continue;
            }
            describe(header, frame);
            if (frame->id == 0) { /* nobody could tell the answer from another's */
                reader->start += MAGIC_SIZE;
                continue;
            }
            if (frame->length > REGRUN_MAX_PAYLOAD) {
                reader->start += MAGIC_SIZE;
                return FRAME_TOO_LONG;
            }
            reader->wanted = FRAME_HEADER_SIZE + (size_t)frame->length;
        }
        if (reader->end - reader->start < reader->wanted) {
            return FRAME_NONE;
        }
        header = reader->data + reader->start;
        describe(header, frame);
        reader->wanted = 0;
        if (crc32_update(0, header + FRAME_HEADER_SIZE, frame->length) != get32(header + 16)) {
            reader->start += MAGIC_SIZE;
            continue;
        }
        frame->payload = header + FRAME_HEADER_SIZE;
        reader->start += FRAME_HEADER_SIZE + (size_t)frame->length;
        return FRAME_WHOLE;
    }
}

int frame_reader_is_amid(const FRAME_READER *reader)
{
    return reader->end != reader->start;
}

int frame_reader_give_up(FRAME_READER *reader, FRAME *frame)
{
    size_t held = reader->end - reader->start;
    int known = reader->wanted != 0;

    if (known) {
        describe(reader->data + reader->start, frame);
    }
    reader->start += held < MAGIC_SIZE ? held : MAGIC_SIZE;
    reader->wanted = 0;
    return known;
}

void frame_encode_header(unsigned char header[FRAME_HEADER_SIZE], uint16_t type, uint32_t id, const void *payload,
                         size_t length)
{
    put32(header, REGRUN_MAGIC);
    header[4] = REGRUN_PROTOCOL_MAJOR;
    header[5] = 0;
    header[6] = (unsigned char)type;
    header[7] = (unsigned char)(type >> 8);
    put32(header + 8, id);
    put32(header + 12, (uint32_t)length);
    put32(header + 16, length == 0 ? 0 : crc32_update(0, payload, length));
    put32(header + 20, crc32_update(0, header, FRAME_HEADER_SIZE - 4));
}
