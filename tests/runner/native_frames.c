/*
 * The runner's frame reader on its own, for tests on the host: pieces of a stream in, one line for each frame out.
 *
 * stdin: pieces, each a 32-bit little-endian length and its bytes; length 0xFFFFFFFF is a stall.
 */
#include <stdio.h>
#include <stdlib.h>

#include "crc32.h"
#include "frames.h"

static void tell(FRAME_READER *reader)
{
    FRAME_FOUND found;
    FRAME frame;

    while ((found = frame_reader_next(reader, &frame)) != FRAME_NONE) {
        if (found == FRAME_TOO_LONG) {
            printf("long %u %u\n", frame.type, frame.id);
        } else {
            printf("frame %u %u %u %u %u\n", frame.type, frame.id, frame.major, frame.length,
                   crc32_update(0, frame.payload, frame.length));
        }
    }
}

int main(void)
{
    unsigned char head[4], *space;
    unsigned length;
    FRAME_READER reader;
    FRAME lost;
    size_t size, part;

    frame_reader_init(&reader);
    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        length = head[0] | head[1] << 8 | head[2] << 16 | (unsigned)head[3] << 24;
        if (length == 0xFFFFFFFF) {
            if (frame_reader_is_amid(&reader)) {
                frame_reader_give_up(&reader, &lost);
            }
            tell(&reader);
            continue;
        }
        while (length != 0) {
            space = frame_reader_space(&reader, &size);
            if (space == NULL) {
                return 3;
            }
            part = length < size ? length : size;
            if (fread(space, 1, part, stdin) != part) {
                return 2;
            }
            frame_reader_filled(&reader, part);
            length -= (unsigned)part;
            tell(&reader);
        }
    }
    printf("amid %d\n", frame_reader_is_amid(&reader));
    frame_reader_free(&reader);
    return 0;
}
