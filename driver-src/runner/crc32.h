/* CRC-32 as zlib and IEEE 802.3 have it. Portable. */
#ifndef RUNNER_CRC32_H
#define RUNNER_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` stands for followed by `data`; 0 stands for nothing. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t size);

#endif
