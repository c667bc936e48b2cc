/*
 * Frames on a byte stream, as abi/regrun.h defines them: find them again after garbage, lost halves and stalls.
 *
 * Portable and free of input and output: the caller reads into `frame_reader_space`, says how much with
 * `frame_reader_filled`, and takes what `frame_reader_next` finds until it finds nothing more.
 */
#ifndef RUNNER_FRAMES_H
#define RUNNER_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_SIZE 24

typedef struct FRAME {
    uint8_t major;
    uint16_t type;
    uint32_t id;
    uint32_t length;
    const unsigned char *payload; /* inside the reader; valid until the next call of frame_reader_space */
} FRAME;

typedef enum FRAME_FOUND {
    FRAME_NONE,    /* nothing whole yet */
    FRAME_WHOLE,   /* a frame with the right checksums */
    FRAME_TOO_LONG /* a right header that announces more than REGRUN_MAX_PAYLOAD; without payload */
} FRAME_FOUND;

typedef struct FRAME_READER {
    unsigned char *data;
    size_t start, end, capacity;
    size_t wanted; /* bytes of the frame at `start`, when its header is known to be right; otherwise 0 */
} FRAME_READER;

void frame_reader_init(FRAME_READER *reader);
void frame_reader_free(FRAME_READER *reader);

/* Where to put the next bytes, and in *size how many fit. NULL when memory is out: then give up the frame. */
unsigned char *frame_reader_space(FRAME_READER *reader, size_t *size);
void frame_reader_filled(FRAME_READER *reader, size_t size);

FRAME_FOUND frame_reader_next(FRAME_READER *reader, FRAME *frame);

/* Whether a frame has begun and isn't whole: no further byte for REGRUN_STALL_MS then means that it is lost. */
int frame_reader_is_amid(const FRAME_READER *reader);

/* The frame that has begun is lost. Search on behind its magic; what was known of it goes to *frame.
 * Returns 0 when not even its header was there. */
int frame_reader_give_up(FRAME_READER *reader, FRAME *frame);

void frame_encode_header(unsigned char header[FRAME_HEADER_SIZE], uint16_t type, uint32_t id, const void *payload,
                         size_t length);

#endif
