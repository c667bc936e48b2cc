/* Values below a service's Parameters key. */
#ifndef RUNNER_PARAMETERS_H
#define RUNNER_PARAMETERS_H

#include "reply.h"

/* Write the encoded map {text: int | text | bytes}: REG_DWORD (REG_QWORD where it doesn't fit), REG_SZ, REG_BINARY. */
BOOL parameters_write(const wchar_t *service, const unsigned char *map, size_t size, REPLY *reply);

#endif
