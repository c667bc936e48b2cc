#include "crc32.h"

#define POLYNOMIAL 0xEDB88320u /* reflected 0x04C11DB7 */
#define SLICES 8

/* tables[n][b]: what byte b does to the CRC when n more bytes follow in the same step. */
static uint32_t tables[SLICES][256];
static volatile int tables_made;

/* Two threads may do this at once: both write the same values. */
static void make_tables(void)
{
    uint32_t byte, slice, crc;
    int bit;

    for (byte = 0; byte < 256; byte++) {
        crc = byte;
        for (bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        }
        tables[0][byte] = crc;
    }
    for (slice = 1; slice < SLICES; slice++) {
        for (byte = 0; byte < 256; byte++) {
            crc = tables[slice - 1][byte];
            tables[slice][byte] = (crc >> 8) ^ tables[0][crc & 0xFF];
        }
    }
    tables_made = 1;
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *byte = data;

    if (!tables_made) {
        make_tables();
    }
    crc = ~crc;
    for (; size >= SLICES; size -= SLICES, byte += SLICES) {
        crc ^= byte[0] | (uint32_t)byte[1] << 8 | (uint32_t)byte[2] << 16 | (uint32_t)byte[3] << 24;
        crc = tables[7][crc & 0xFF] ^ tables[6][crc >> 8 & 0xFF] ^ tables[5][crc >> 16 & 0xFF] ^ tables[4][crc >> 24] ^
              tables[3][byte[4]] ^ tables[2][byte[5]] ^ tables[1][byte[6]] ^ tables[0][byte[7]];
    }
    for (; size != 0; size--, byte++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *byte) & 0xFF];
    }
    return ~crc;
}
