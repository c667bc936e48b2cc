/* Programs of registry operations, as harness/workload/codec.py encodes them. */
#ifndef RUNNER_PROGRAM_H
#define RUNNER_PROGRAM_H

#include <stddef.h>

/*
 * Decode a program, execute it, encode its result into *out (from malloc). Called by one thread at a time, always
 * the same one: it is thread 0 of the program.
 *
 * 0, or REGRUN_ERROR_xxx with the reason in `message` (NUL-terminated, without anything having been executed when
 * it is REGRUN_ERROR_MALFORMED or REGRUN_ERROR_LIMIT).
 */
int program_run(const unsigned char *in, size_t in_size, unsigned char **out, size_t *out_size, char *message,
                size_t message_size);

#endif
