/* Programs of registry operations, as harness/workload/codec.py encodes them. */
#ifndef RUNNER_PROGRAM_H
#define RUNNER_PROGRAM_H

#include <stddef.h>

/*
 * Decode a program, execute it, encode its result into *out (from malloc). Called by one thread at a time, always
 * the same one: it is thread 0 of the program.
 *
 * 0, or REGRUN_ERROR_xxx with the reason in `message`, which ends with a NUL. After REGRUN_ERROR_MALFORMED nothing was
 * executed.
 */
int program_run(const unsigned char *in, size_t in_size, unsigned char **out, size_t *out_size, char *message,
                size_t message_size);

#endif
