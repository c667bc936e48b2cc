/* What the parts of the tiny setup share: ports, the disk, the words of the test. */
#include <stddef.h>
#include <stdint.h>

#define COM1 0x3F8
#define COM2 0x2F8
/* Sleep types where QEMU's PIIX4 has them. */
#define S4 (2u << 10)
#define S5 0u

/* The sector that outlives a restart: how often it was started from the disk, whether the next start goes on where
 * this one stopped, and as which boot. */
#define COUNT_LBA 101u
enum { STARTS, RESUMES, RESUMED };

extern const char config[], answers[];

const char *find(const char *text, size_t length, const char *part);
int wished(const char *word);
int disk(uint8_t unit, uint32_t lba, uint16_t *words, int writing);
void serial_up(uint16_t port);
void forever(void);
void restart(void);
void switch_off(unsigned state);
void runner(uint16_t *words);

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint16_t in16(uint16_t port) { uint16_t v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
