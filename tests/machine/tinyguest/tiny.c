/*
 * A guest of a few kilobytes that boots in a second without any download: what the tests of machines run.
 *
 * Command line: "channel=com1|com2 debug=com1|com2|none". On the channel it answers lines, one reply per line,
 * and sends nothing unasked. On the debug port it says "tiny: ready" when it is up. Numbers are hexadecimal with
 * or without 0x, but for `dirty`'s megabytes, which are decimal.
 *
 *   ping                pong N            N: the counter, 0 at boot, kept in RAM
 *   add N               sum N             adds to the counter
 *   dirty N             dirtied N PAGES   writes N MB of RAM above 16 MB; PAGES: pages not zero by now, in all
 *   clock               clock YYMMDDhhmmss   the clock chip
 *   echo TEXT           TEXT
 *   write LBA TEXT      written           a sector of the first IDE disk ("pc" machines)
 *   read LBA            read TEXT
 *   say TEXT            said              TEXT on the debug port
 *   repeat N TEXT       repeated          TEXT on the debug port N times
 *   stop CODE A B C D   nothing           a bugcheck's text on the debug port, then it halts for ever
 *   crash CODE A B C D  nothing           Hyper-V's crash registers, then it halts for ever
 *   pvpanic             nothing           the ISA panic device, then it halts for ever
 *   hang                nothing           spins with interrupts off
 *   halt                nothing           halts with interrupts off
 *   fault               nothing           a triple fault: the machine resets
 *   reset               nothing           asks the keyboard controller for a reset
 *   off                 nothing           switches itself off by ACPI
 *
 * The power button switches it off, unless `stubborn` (stubborn) was said before.
 */
#include <stddef.h>
#include <stdint.h>

#define DIRTY_BASE 0x1000000u
#define PAGE 4096u
#define LINE 512u

extern char wake_master[], wake_slave[];

struct multiboot { uint32_t flags, mem_lower, mem_upper, boot_device, command_line; };
struct gate { uint16_t low, selector, type, high; } __attribute__((packed));
struct table { uint16_t limit; uint32_t base; } __attribute__((packed));

static struct gate idt[256];
static uint16_t channel = 0x2F8, debug = 0x3F8;
static uint32_t counter, memory_end, stubborn;

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint16_t in16(uint16_t port) { uint16_t v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

/* -- text -------------------------------------------------------------------------------------------------- */

static void put(uint16_t port, char c)
{
    if (!port)
        return;
    while (!(in8(port + 5) & 0x20))
        ;
    out8(port, (uint8_t)c);
}

static void print(uint16_t port, const char *text) { while (*text) put(port, *text++); }

static void number(uint16_t port, uint64_t v, int digits)
{
    while (digits-- > 0)
        put(port, "0123456789abcdef"[(v >> (4 * digits)) & 15]);
}

static void hex(uint16_t port, uint64_t v)
{
    int digits = 1;
    while (digits < 16 && v >> (4 * digits))
        digits++;
    number(port, v, digits);
}

static void reply(const char *text) { print(channel, text); print(channel, "\n"); }

static int word(const char **line, const char *expected)
{
    const char *p = *line;
    while (*expected && *p == *expected)
        p++, expected++;
    if (*expected || (*p && *p != ' '))
        return 0;
    while (*p == ' ')
        p++;
    *line = p;
    return 1;
}

static uint64_t parse(const char **line, uint32_t base)
{
    const char *p = *line;
    uint64_t v = 0;
    if (base == 16 && p[0] == '0' && p[1] == 'x')
        p += 2;
    for (;; p++) {
        uint32_t digit = 99;
        if (*p >= '0' && *p <= '9') digit = (uint32_t)(*p - '0');
        if (*p >= 'a' && *p <= 'f') digit = (uint32_t)(*p - 'a' + 10);
        if (*p >= 'A' && *p <= 'F') digit = (uint32_t)(*p - 'A' + 10);
        if (digit >= base)
            break;
        v = v * base + digit;
    }
    while (*p == ' ')
        p++;
    *line = p;
    return v;
}

static int contains(const char *text, const char *part)
{
    for (; *text; text++) {
        const char *a = text, *b = part;
        while (*b && *a == *b)
            a++, b++;
        if (!*b)
            return 1;
    }
    return 0;
}

/* -- hardware ---------------------------------------------------------------------------------------------- */

static void serial_up(uint16_t port)
{
    out8(port + 3, 0x80); out8(port, 1); out8(port + 1, 0);     /* 115200 baud */
    out8(port + 3, 0x03); out8(port + 2, 0x07);                 /* 8N1, queues on, an interrupt per byte */
    out8(port + 4, 0x0B); out8(port + 1, 0x01);
    (void)in8(port); (void)in8(port + 2); (void)in8(port + 5);
}

static void interrupts_up(void)
{
    struct table pointer = { sizeof idt - 1, (uint32_t)idt };
    for (int n = 0x20; n < 0x30; n++) {
        uint32_t handler = (uint32_t)(n < 0x28 ? wake_master : wake_slave);
        idt[n] = (struct gate){ (uint16_t)handler, 0x08, 0x8E00, (uint16_t)(handler >> 16) };
    }
    out8(0x20, 0x11); out8(0x21, 0x20); out8(0x21, 0x04); out8(0x21, 0x01);
    out8(0xA0, 0x11); out8(0xA1, 0x28); out8(0xA1, 0x02); out8(0xA1, 0x01);
    out8(0x21, (uint8_t)~0x19); out8(0xA1, 0xFF);               /* timer, COM2, COM1 */
    out8(0x43, 0x34); out8(0x40, 0x9B); out8(0x40, 0x2E);       /* 100 Hz: nothing is ever slept through */
    __asm__ volatile("lidt %0" : : "m"(pointer));
    out16(0x602, 0x0100);                                       /* ACPI: let the power button be seen */
}

static void switch_off(void)
{
    out16(0x604, 0x2000);                                       /* S5 where SeaBIOS puts the power registers */
    for (;;)
        __asm__ volatile("cli; hlt");
}

static uint8_t cmos(uint8_t reg) { out8(0x70, reg); return in8(0x71); }

static int disk_wait(uint8_t mask, uint8_t wanted)
{
    for (uint32_t n = 0; n < 10000000; n++) {
        uint8_t status = in8(0x1F7);
        if (status == 0xFF || status == 0)
            return 0;
        if ((status & (0x80 | mask)) == wanted)
            return 1;
    }
    return 0;
}

static int disk(uint32_t lba, uint16_t *sector, int writing)
{
    out8(0x3F6, 0x02);
    out8(0x1F6, (uint8_t)(0xE0 | ((lba >> 24) & 15)));
    if (!disk_wait(0x40, 0x40))
        return 0;
    out8(0x1F2, 1); out8(0x1F3, (uint8_t)lba); out8(0x1F4, (uint8_t)(lba >> 8)); out8(0x1F5, (uint8_t)(lba >> 16));
    out8(0x1F7, writing ? 0x30 : 0x20);
    if (!disk_wait(0x08, 0x08))
        return 0;
    for (int n = 0; n < 256; n++) {
        if (writing)
            __asm__ volatile("outw %0, %1" : : "a"(sector[n]), "Nd"((uint16_t)0x1F0));
        else
            sector[n] = in16(0x1F0);
    }
    if (!writing)
        return 1;
    if (!disk_wait(0, 0))
        return 0;
    out8(0x1F7, 0xE7);
    return disk_wait(0, 0);
}

/* -- commands ---------------------------------------------------------------------------------------------- */

static void forever(void) { for (;;) __asm__ volatile("cli; hlt"); }

static void dirty(uint32_t megabytes)
{
    uint32_t end = DIRTY_BASE + (megabytes << 20), pages = 0;
    if (megabytes >= 3072 || end > memory_end) {
        reply("error: not that much memory");
        return;
    }
    for (uint32_t a = DIRTY_BASE; a < end; a += PAGE)
        *(volatile uint32_t *)a = a ^ 0x9E3779B9u;
    for (uint32_t a = DIRTY_BASE; a < memory_end && a + PAGE > a; a += PAGE) {
        if (!*(volatile uint32_t *)a)
            break;
        pages++;
    }
    print(channel, "dirtied "); hex(channel, megabytes); put(channel, ' '); hex(channel, pages); print(channel, "\n");
}

static void tell_time(void)
{
    static const uint8_t registers[] = { 9, 8, 7, 4, 2, 0 };
    print(channel, "clock ");
    for (unsigned n = 0; n < sizeof registers; n++)
        number(channel, cmos(registers[n]), 2);
    print(channel, "\n");
}

static void sector(const char *line, int writing)
{
    static uint16_t words[257];
    char *text = (char *)words;
    uint32_t lba = (uint32_t)parse(&line, 16);
    for (unsigned n = 0; n < sizeof words; n++)
        text[n] = 0;
    for (unsigned n = 0; writing && line[n] && n < LINE; n++)
        text[n] = line[n];
    if (!disk(lba, words, writing)) {
        reply("error: the disk does not answer");
    } else if (writing) {
        reply("written");
    } else {
        print(channel, "read ");
        for (unsigned n = 0; text[n] >= ' ' && text[n] <= '~'; n++)
            put(channel, text[n]);
        print(channel, "\n");
    }
}

static void bugcheck(const char *line, int registers)
{
    uint64_t words[5];
    for (int n = 0; n < 5; n++)
        words[n] = parse(&line, 16);
    if (registers) {
        for (uint32_t n = 0; n < 5; n++)
            wrmsr(0x40000100 + n, words[n]);                    /* HV_X64_MSR_CRASH_P0.. */
        wrmsr(0x40000105, 1ull << 63);                          /* HV_X64_MSR_CRASH_CTL: notify */
    } else {
        print(debug, "\n*** STOP: 0x"); number(debug, words[0], 8);
        print(debug, " (");
        for (int n = 1; n < 5; n++) {
            print(debug, n > 1 ? ",0x" : "0x");
            number(debug, words[n], 16);
        }
        print(debug, ")\n");
    }
    forever();
}

static void obey(const char *line)
{
    if (word(&line, "ping")) {
        print(channel, "pong "); hex(channel, counter); print(channel, "\n");
    } else if (word(&line, "add")) {
        counter += (uint32_t)parse(&line, 16);
        print(channel, "sum "); hex(channel, counter); print(channel, "\n");
    } else if (word(&line, "dirty")) {
        dirty((uint32_t)parse(&line, 10));
    } else if (word(&line, "clock")) {
        tell_time();
    } else if (word(&line, "echo")) {
        reply(line);
    } else if (word(&line, "write")) {
        sector(line, 1);
    } else if (word(&line, "read")) {
        sector(line, 0);
    } else if (word(&line, "say")) {
        print(debug, line); print(debug, "\n"); reply("said");
    } else if (word(&line, "repeat")) {
        for (uint32_t n = (uint32_t)parse(&line, 16); n; n--) {
            print(debug, line); print(debug, "\n");
        }
        reply("repeated");
    } else if (word(&line, "stop")) {
        bugcheck(line, 0);
    } else if (word(&line, "crash")) {
        bugcheck(line, 1);
    } else if (word(&line, "pvpanic")) {
        out8(0x505, 1); forever();
    } else if (word(&line, "hang")) {
        __asm__ volatile("cli; 1: jmp 1b");
    } else if (word(&line, "halt")) {
        forever();
    } else if (word(&line, "fault")) {
        struct table none = { 0, 0 };
        __asm__ volatile("cli; lidt %0; int3" : : "m"(none));
    } else if (word(&line, "reset")) {
        out8(0x64, 0xFE); forever();
    } else if (word(&line, "off")) {
        switch_off();
    } else if (word(&line, "stubborn")) {
        stubborn = 1; reply("stubborn");
    } else {
        print(channel, "error: what is "); reply(line);
    }
}

void tiny_main(const struct multiboot *info)
{
    static char line[LINE];
    unsigned length = 0;
    const char *options = (info->flags & 4) ? (const char *)info->command_line : "";

    memory_end = 0x100000 + ((info->flags & 1) ? info->mem_upper * 1024 : 0);
    if (contains(options, "channel=com1")) channel = 0x3F8;
    if (contains(options, "debug=com2")) debug = 0x2F8;
    if (contains(options, "debug=none") || channel == debug) debug = 0;
    serial_up(channel);
    if (debug)
        serial_up(debug);
    interrupts_up();
    print(debug, "tiny: ready\n");
    for (;;) {
        __asm__ volatile("cli");
        if (in16(0x600) & 0x0100) {                             /* the power button */
            out16(0x600, 0x0100);
            if (!stubborn)
                switch_off();
        }
        if (!(in8(channel + 5) & 1)) {
            __asm__ volatile("sti; hlt");
            continue;
        }
        __asm__ volatile("sti");
        char c = (char)in8(channel);
        if (c == '\n') {
            line[length] = 0;
            length = 0;
            obey(line);
        } else if (c != '\r' && length < LINE - 1) {
            line[length++] = c;
        }
    }
}
