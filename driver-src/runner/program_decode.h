/*
 * Programs as bytes, checked by the rules of harness/workload: {codec,fields,opcodes,program}.py. What one side
 * refuses the other refuses too. Portable; allocates nothing: what is decoded points into the encoded program.
 */
#ifndef RUNNER_PROGRAM_DECODE_H
#define RUNNER_PROGRAM_DECODE_H

#include "cbor.h"
#include "program_table.h"

typedef struct FIELD_VALUE {
    bool given;     /* or has a default */
    bool wide;      /* a text of UTF-16-LE bytes, not of UTF-8 */
    uint64_t number; /* slot, integer or flag; elements of an array */
    const unsigned char *bytes; /* text, bytes, or the encoded elements of an array */
    size_t size;
} FIELD_VALUE;

typedef struct OPERATION {
    OPCODE opcode;
    const unsigned char *encoded;
    size_t encoded_size;
    FIELD_VALUE fields[FIELD_COUNT];
} OPERATION;

typedef struct PROGRAM {
    const unsigned char *operations; /* one encoded operation behind the other */
    size_t size;
    unsigned count, handle_count;
} PROGRAM;

typedef struct DECODE_ERROR {
    bool limit; /* too much of something, not malformed */
    char text[256];
} DECODE_ERROR;

/* Check a whole program. false: `error` says what is wrong and where. */
bool program_decode(PROGRAM *program, const void *data, size_t size, DECODE_ERROR *error);

/* The operation at the beginning of `data`; its encoded_size tells where the next one is. */
bool operation_decode(OPERATION *operation, const unsigned char *data, size_t size, unsigned handle_count,
                      DECODE_ERROR *error);

/* UTF-16 units of a text. */
size_t text_units(const FIELD_VALUE *text);
/* The text itself, without a NUL, into a buffer of that many. */
void text_copy(utf16_t *to, const FIELD_VALUE *text);

/* The elements of a field that is an array: begin with a reader, take `number` of them. */
void array_begin(CBOR_READER *reader, const FIELD_VALUE *array);
void array_next_text(CBOR_READER *reader, FIELD_VALUE *text);
void array_next_patch(CBOR_READER *reader, uint32_t *offset, unsigned *slot);

#endif
