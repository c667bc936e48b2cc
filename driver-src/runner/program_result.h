/* What one operation gave, as harness/workload/result.py has it. Plain data: it travels between processes. */
#ifndef RUNNER_PROGRAM_RESULT_H
#define RUNNER_PROGRAM_RESULT_H

#include "cbor.h"

/* Which optional numbers are there, as bits */
#define RESULT_HAS_LENGTH 1
#define RESULT_HAS_BUFFER_LENGTH 2
#define RESULT_HAS_DISPOSITION 4

typedef struct RESULT_ENTRY {
    uint32_t data_length, data_offset, type;
} RESULT_ENTRY;

typedef struct RESULT {
    uint32_t status, has;
    uint64_t begin, end, process_id, thread_id;
    uint64_t handle, input_address, output_address, name_address; /* 0: none */
    uint32_t result_length, buffer_length, disposition;
    uint32_t buffer_size, entry_count;
    unsigned char *buffer; /* from malloc */
    RESULT_ENTRY *entries; /* from malloc */
} RESULT;

void result_free(RESULT *result);
void result_encode(CBOR_WRITER *writer, const RESULT *result);

#endif
