/* Values of a key below a service's key. */
#ifndef RUNNER_PARAMETERS_H
#define RUNNER_PARAMETERS_H

#include "reply.h"

#define PARAMETERS_KEY L"Parameters"

/* Write the encoded map {text: int | text | bytes}: REG_DWORD (REG_QWORD where it doesn't fit), REG_SZ, REG_BINARY.
 * `below` is the key's path from the service's key on; made where it is missing. */
BOOL parameters_write(const wchar_t *service, const wchar_t *below, const unsigned char *map, size_t size,
                      REPLY *reply);

#endif
