/* SHA-256 (FIPS 180-4). Portable. */
#ifndef RUNNER_SHA256_H
#define RUNNER_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct SHA256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
} SHA256;

void sha256_init(SHA256 *sha);
void sha256_update(SHA256 *sha, const void *data, size_t size);
void sha256_final(SHA256 *sha, unsigned char digest[32]);

#endif
