/*
 * The tiny setup as UEFI firmware starts it: setup.c says what a setup does. From the CD it asks for a key for five
 * seconds, tells windows-setup, copies the file system it came from to the smallest disk and restarts. From the disk
 * it tells specialize and restarts; then first-logon and ready, and switches the machine off.
 *
 * Tables and protocols by their offsets in the UEFI specification, 2.10: 4.3, 4.4, 4.5, 12.3, 12.4, 9.1, 13.9.
 */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t (*call)();                            /* the compiler for Windows has UEFI's way of calling */
typedef struct { uint32_t a; uint16_t b, c; uint8_t d[8]; } guid;
struct media { uint32_t id; uint8_t removable, present, partition, read_only, caching, pad[3]; uint32_t block, align; uint64_t last; };
struct blocks { uint64_t revision; struct media *media; call reset, read, write, flush; };

#define TABLE(table, number) (((call *)((char *)(table) + 24))[number])
#define STATE_LBA 0x40000u
#define CHUNK 65536u
#define VOLUME 1474560u                                 /* its file system; firmware sees the partition larger */

static guid block_io = { 0x964E5B21, 0x6459, 0x11d2, { 0x8E, 0x39, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B } };
static guid loaded_image = { 0x5B1B31A1, 0x9562, 0x11d2, { 0x8E, 0x3F, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B } };
static void *boot, *runtime, *input, *output;

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(in8(0x3FD) & 0x20))
            ;
        out8(0x3F8, (uint8_t)*text);
    }
}

static void stage(const char *name) { print("HARNESS-STAGE "); print(name); print("\r\n"); }

static void end(uint64_t kind)                          /* 0: cold restart, 2: off */
{
    TABLE(runtime, 10)(kind, (uint64_t)0, (uint64_t)0, NULL);
    for (;;)
        __asm__ volatile("hlt");
}

static void *protocol(void *handle, guid *which)
{
    void *found = NULL;
    return TABLE(boot, 16)(handle, which, &found) ? NULL : found;
}

static int key_pressed(void)
{
    uint16_t key[2];
    for (int n = 0; n < 500; n++) {                     /* ten milliseconds each */
        if (!((call *)input)[1](input, key))
            return 1;
        TABLE(boot, 28)((uint64_t)10000);
    }
    return 0;
}

static struct blocks *smallest_disk(void)
{
    static void *handles[256];
    uint64_t size = sizeof handles;
    struct blocks *found = NULL;
    if (TABLE(boot, 19)((uint64_t)2, &block_io, NULL, &size, handles))
        return NULL;
    for (uint64_t n = 0; n < size / sizeof *handles; n++) {
        struct blocks *disk = protocol(handles[n], &block_io);
        if (disk && disk->media->present && !disk->media->read_only && !disk->media->partition
            && (!found || disk->media->last < found->media->last))
            found = disk;
    }
    return found;
}

static uint64_t transfer(struct blocks *disk, int writing, uint64_t byte, void *data, uint64_t size)
{
    return (writing ? disk->write : disk->read)(disk, (uint64_t)disk->media->id, byte / disk->media->block, size, data);
}

static void setup(struct blocks *cd, struct blocks *disk)
{
    static uint8_t data[CHUNK] __attribute__((aligned(4096)));
    static const uint16_t prompt[] = u"Press any key to boot from CD or DVD.....";

    ((call *)output)[1](output, prompt);
    if (!key_pressed())
        return;                                         /* the next boot option */
    stage("windows-setup");
    uint64_t failed = 0;
    for (uint64_t at = 0; at < VOLUME; at += CHUNK) {
        uint64_t length = VOLUME - at < CHUNK ? VOLUME - at : CHUNK;
        failed |= transfer(cd, 0, at, data, length) | transfer(disk, 1, at, data, length);
    }
    for (unsigned n = 0; n < 512; n++)
        data[n] = 0;
    failed |= transfer(disk, 1, STATE_LBA * 512ull, data, 512);
    disk->flush(disk);
    if (failed)
        print("the disk can't be written\r\n");
    else
        end(0);
}

static void installed(struct blocks *disk)
{
    static uint8_t data[512] __attribute__((aligned(4096)));

    transfer(disk, 0, STATE_LBA * 512ull, data, 512);
    if (data[0]++) {
        stage("first-logon");
        stage("ready");
        end(2);
    }
    stage("specialize");
    transfer(disk, 1, STATE_LBA * 512ull, data, 512);
    disk->flush(disk);
    end(0);
}

uint64_t efi_main(void *image, char *system)
{
    input = *(void **)(system + 48);
    output = *(void **)(system + 64);
    runtime = *(void **)(system + 88);
    boot = *(void **)(system + 96);
    char *self = protocol(image, &loaded_image);
    struct blocks *from = self ? protocol(*(void **)(self + 24), &block_io) : NULL;
    struct blocks *disk = smallest_disk();
    if (!from || !disk)
        print("there is no disk\r\n");
    else if (from->media->read_only)
        setup(from, disk);
    else
        installed(disk);
    return 1;
}
