/*
 * A setup of a few kilobytes that does what an install does, in seconds: it is started from a CD that asks for a
 * key, reads its answer file from the second CD, writes the disk, restarts from it, and tells its stages on COM1.
 *
 * From the CD:   windows-setup, the disk is written, restart.
 * From the disk: specialize, restart; first-logon, files, crash-settings, ready; switches itself off.
 * From then on:  a runner on COM2 (runner.c).
 *
 * Without an answer file it asks a question and waits, as setup does. `config` (patched by the test) holds words:
 *   stall    waits for ever after specialize         fail    a step of the first boot does not work
 *   early    switches itself off at first-logon      loop    restarts for ever without a word
 *   panic    tells the panic device at first-logon   nodisk  does not write the disk before it restarts
 *   other    tells another version than it should
 *   mute     has no runner                           forget  does not resume from hibernation
 *   own      its answer file is \reactos\unattend.inf on its own CD, as with ReactOS
 */
#include "tiny.h"

#define SECTOR 512u
#define IMAGE ((uint16_t *)0x8000)
#define IMAGE_SECTORS 64u
#define ANSWER_LBA 100u
#define ANSWER ((char *)0x20000)
#define ANSWER_MAX 0x8000u

extern const char config[];
extern const uint16_t boot_sector[];

/* -- text -------------------------------------------------------------------------------------------------- */

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(in8(COM1 + 5) & 0x20))
            ;
        out8(COM1, (uint8_t)*text);
    }
}

static void stage(const char *name) { print("HARNESS-STAGE "); print(name); print(" \r\n"); }

const char *find(const char *text, size_t length, const char *part)
{
    for (size_t at = 0; at < length; at++) {
        size_t n = 0;
        while (part[n] && at + n < length && text[at + n] == part[n])
            n++;
        if (!part[n])
            return text + at;
    }
    return NULL;
}

int wished(const char *word) { return find(config, 64, word) != NULL; }

void forever(void) { for (;;) __asm__ volatile("cli; hlt"); }
void restart(void) { out8(0x64, 0xFE); forever(); }
void switch_off(unsigned state) { out16(0x604, (uint16_t)(0x2000 | state)); forever(); }

void serial_up(uint16_t port)
{
    out8(port + 3, 0x80); out8(port, 1); out8(port + 1, 0); out8(port + 3, 0x03); out8(port + 2, 0x07);
    out8(port + 1, 0); out8(port + 4, 0x0B);
}

/* -- drives: channel 0x1F0 has the disks, 0x170 the CDs ------------------------------------------------------ */

static int ready(uint16_t base, uint8_t wanted)
{
    for (uint32_t n = 0; n < 50000000; n++) {
        uint8_t status = in8(base + 7);
        if (status == 0xFF)
            return 0;
        if (!(status & 0x80) && (status & 0x01))
            return 0;
        if ((status & (0x80 | wanted)) == wanted)
            return 1;
    }
    return 0;
}

int disk(uint8_t unit, uint32_t lba, uint16_t *words, int writing)
{
    out8(0x3F6, 0x02);
    out8(0x1F6, (uint8_t)(0xE0 | unit << 4));
    if (!ready(0x1F0, 0x40))
        return 0;
    out8(0x1F2, 1); out8(0x1F3, (uint8_t)lba); out8(0x1F4, (uint8_t)(lba >> 8)); out8(0x1F5, (uint8_t)(lba >> 16));
    out8(0x1F7, writing ? 0x30 : 0x20);
    if (!ready(0x1F0, 0x08))
        return 0;
    for (int n = 0; n < 256; n++) {
        if (writing)
            out16(0x1F0, words[n]);
        else
            words[n] = in16(0x1F0);
    }
    if (!writing)
        return 1;
    if (!ready(0x1F0, 0x40))
        return 0;
    out8(0x1F7, 0xE7);                                          /* to the medium, not the cache */
    return ready(0x1F0, 0x40);
}

static int cd_read(uint32_t lba, uint16_t *words)
{
    uint8_t packet[12] = { 0x28, 0, (uint8_t)(lba >> 24), (uint8_t)(lba >> 16), (uint8_t)(lba >> 8), (uint8_t)lba,
                           0, 0, 1, 0, 0, 0 };
    for (int attempt = 0; attempt < 5; attempt++) {             /* the first ones say that the disc is new */
        out8(0x376, 0x02);
        out8(0x176, wished("own") ? 0xA0 : 0xB0);               /* its own CD, or the second */
        (void)in8(0x177); (void)in8(0x177);
        out8(0x171, 0); out8(0x174, 0); out8(0x175, 8);         /* 2048 bytes at once */
        out8(0x177, 0xA0);
        if (!ready(0x170, 0x08))
            continue;
        for (int n = 0; n < 6; n++)
            out16(0x170, (uint16_t)(packet[2 * n] | packet[2 * n + 1] << 8));
        if (!ready(0x170, 0x08))
            continue;
        for (int n = 0; n < 1024; n++)
            words[n] = in16(0x170);
        (void)ready(0x170, 0x40);
        return 1;
    }
    return 0;
}

/* -- the answer disc: ISO 9660 with Joliet, as Windows reads it ------------------------------------------------------------------------------- */

static uint32_t le32(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* Whether a record's name, 16 bits a character, begins with `name`. */
static int named(const uint8_t *text, uint32_t length, const char *name)
{
    uint32_t n = 0;
    while (name[n] && 2 * n + 1 < length && !text[2 * n] && text[2 * n + 1] == (uint8_t)name[n])
        n++;
    return !name[n];
}

/* The extent of `name` in the folder at `extent`, and its size; 0 when it is not there. */
static uint32_t lookup(uint32_t extent, const char *name, uint32_t *size)
{
    static uint16_t words[1024];
    const uint8_t *bytes = (const uint8_t *)words;
    if (!cd_read(extent, words))
        return 0;
    for (uint32_t at = 0; at + 33 < 2048 && bytes[at]; at += bytes[at]) {
        if (named(bytes + at + 33, bytes[at + 32], name)) {
            *size = le32(bytes + at + 10);
            return le32(bytes + at + 2);
        }
    }
    return 0;
}

static uint32_t root(void)
{
    static uint16_t words[1024];
    const uint8_t *bytes = (const uint8_t *)words;
    for (uint32_t sector = 17; cd_read(sector, words) && bytes[0] != 255; sector++)
        if (bytes[0] == 2)                                      /* the descriptor of the long names */
            return le32(bytes + 156 + 2);
    return 0;
}

static uint32_t read_answer(void)
{
    uint32_t size = 0, extent = root();
    if (wished("own"))
        extent = lookup(lookup(extent, "reactos", &size), "unattend.inf", &size);
    else
        extent = lookup(extent, "autounattend.xml", &size);
    if (!extent || size > ANSWER_MAX)
        return 0;
    for (uint32_t n = 0; n * 2048 < size; n++)
        if (!cd_read(extent + n, (uint16_t *)(ANSWER + n * 2048)))
            return 0;
    return size;
}

/* -- what it does -------------------------------------------------------------------------------------------- */

static void setup(void)
{
    static uint16_t words[256];
    char *text = (char *)words;
    uint32_t size;

    stage("windows-setup");
    size = read_answer();
    const char *mark = wished("own") ? "ComputerName = \"" : "<ComputerName>";
    const char *name = size ? find(ANSWER, size, mark) : NULL;
    if (!name) {
        print("Which language do you want?\r\n");
        forever();
    }
    while (*mark++)
        name++;
    for (unsigned n = 0; n < 15 && name[n] != '<' && name[n] != '"'; n++)
        text[n] = name[n];
    int written = disk(0, ANSWER_LBA, words, 1);
    for (unsigned n = 0; n < 256; n++)
        words[n] = 0;
    written = written && disk(0, COUNT_LBA, words, 1);
    for (uint32_t n = 0; n < IMAGE_SECTORS; n++)
        written = written && disk(0, 1 + n, IMAGE + n * 256, 1);
    for (unsigned n = 0; n < 256; n++)
        words[n] = n == 255 ? 0xAA55 : n < 100 ? boot_sector[n] : 0;
    if (!wished("nodisk"))
        written = written && disk(0, 0, words, 1);
    if (!written) {
        print("the disk can't be written\r\n");
        forever();
    }
    restart();
}

static void first_logon(void)
{
    static uint16_t words[256];
    uint32_t size = 0, folder;

    stage("first-logon");
    if (wished("early"))
        switch_off(S5);
    if (wished("panic")) {
        out8(0x505, 1);
        forever();
    }
    if (disk(0, ANSWER_LBA, words, 0)) {
        print("computer "); print((const char *)words); print("\r\n");
    }
    stage("files");
    folder = lookup(root(), "harness", &size);
    if (!folder || !lookup(folder, "first-boot.cmd", &size))
        print("HARNESS-FAILED files\r\n");
    stage("crash-settings");
    for (unsigned n = 0; n < 256; n++)
        words[n] = 0x4444;
    if (!disk(1, 0, words, 1) || wished("fail"))
        print("HARNESS-FAILED dump-disk\r\n");
    print("HARNESS-MISSED power\r\n");
    stage(wished("fail") ? "failed" : "ready");
    switch_off(S5);
}

void setup_main(uint32_t drive)
{
    static uint16_t words[256];

    serial_up(COM1);
    if (drive != 0x80)
        setup();
    if (wished("loop"))
        restart();
    if (!disk(0, COUNT_LBA, words, 0))
        forever();
    unsigned starts = words[0]++;
    if (starts == 0 && wished("stall")) {
        stage("specialize");
        forever();
    }
    if (!words[RESUMES])                                        /* what was kept is no other start */
        disk(0, COUNT_LBA, words, 1);
    if (starts == 0) {
        stage("specialize");
        if (wished("other"))
            print("Microsoft Windows [Version 6.1.7600]\r\n");
        restart();
    }
    if (starts == 1)
        first_logon();
    if (wished("mute"))
        forever();
    runner(words);
}
