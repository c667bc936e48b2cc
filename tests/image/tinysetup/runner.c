/*
 * The runner of the tiny system: frames of driver-src/abi/regrun.h on COM2, answered with what the test patched in.
 *
 * `answers` holds entries of type (16 bits), length (16 bits) and payload, up to the type 0. In the payload, the
 * word BOOT and the letter after it stand for the number of this boot. A request to set the clock is answered with
 * its own time. Restarts and switching off are carried out, and `shutdown.exe /h` writes down what has to outlast the
 * sleep, as hibernation does: the next start is the same boot.
 */
#include "tiny.h"

#define MAGIC 0x4E524752u
#define REPLY 0x8000u
#define FAILED 0xFFFFu
#define PING 2u
#define ENVIRONMENT 4u
#define EXECUTE 10u
#define CLOCK_SET 21u
#define SHUTDOWN 23u
#define ROOM 4096u

struct frame { uint32_t magic; uint8_t major, reserved; uint16_t type; uint32_t id, length, payload_crc, header_crc; };

static uint8_t *const asked = (uint8_t *)0x30000, *const said = (uint8_t *)0x32000;

static uint8_t receive(void)
{
    while (!(in8(COM2 + 5) & 0x01))
        __asm__ volatile("pause");
    return in8(COM2);
}

static void transmit(const void *data, uint32_t size)
{
    for (uint32_t n = 0; n < size; n++) {
        while (!(in8(COM2 + 5) & 0x20))
            ;
        out8(COM2, ((const uint8_t *)data)[n]);
    }
}

static uint32_t crc(const uint8_t *data, uint32_t size)
{
    uint32_t sum = 0xFFFFFFFF;
    for (uint32_t n = 0; n < size; n++) {
        sum ^= data[n];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320u : 0);
    }
    return ~sum;
}

static void reply(uint16_t type, uint32_t id, const uint8_t *payload, uint32_t length)
{
    struct frame frame = { MAGIC, 1, 0, type, id, length, length ? crc(payload, length) : 0, 0 };
    frame.header_crc = crc((const uint8_t *)&frame, 20);
    transmit(&frame, sizeof frame);
    transmit(payload, length);
}

/* The payload that the test gave for `type`, with the boot's number; its length, or ROOM when there is none. */
static uint32_t lookup(uint16_t type, uint16_t boot)
{
    const uint8_t *at = (const uint8_t *)answers;
    while (at[0] | at[1] << 8) {
        uint32_t length = at[2] | (uint32_t)at[3] << 8;
        if ((at[0] | at[1] << 8) == type) {
            for (uint32_t n = 0; n < length; n++)
                said[n] = at[4 + n];
            char *mark = (char *)find((const char *)said, length, "BOOT");
            if (mark)
                mark[4] = (char)('0' + boot % 10);
            return length;
        }
        at += 4 + length;
    }
    return ROOM;
}

static void obey(uint16_t *words, uint16_t boot, const struct frame *frame)
{
    const char *text = (const char *)asked;
    if (frame->type == PING) {
        reply(PING | REPLY, frame->id, asked, frame->length);
        return;
    }
    uint32_t length = lookup(frame->type, boot);
    if (length == ROOM) {
        reply(FAILED, frame->id, said, lookup(FAILED, boot));
        return;
    }
    if (frame->type == CLOCK_SET)                               /* {..., "unix_us": what was asked for} */
        for (uint32_t n = 1; n < frame->length; n++)
            said[length++] = asked[n];
    reply(frame->type | REPLY, frame->id, said, length);
    if (frame->type == EXECUTE && find(text, frame->length, "shutdown.exe /h")) {
        words[RESUMES] = !wished("forget");
        words[RESUMED] = boot;
        disk(0, COUNT_LBA, words, 1);
        switch_off(S4);
    }
    if (frame->type == SHUTDOWN) {
        if (find(text, frame->length, "reboot\xF5"))
            restart();
        switch_off(S5);
    }
}

void runner(uint16_t *words)
{
    struct frame frame;
    uint16_t boot = words[RESUMES] ? words[RESUMED] : words[STARTS];

    if (words[RESUMES]) {
        words[RESUMES] = 0;
        words[STARTS]--;                                        /* this start was none */
        disk(0, COUNT_LBA, words, 1);
    }
    serial_up(COM2);
    for (frame.magic = 0;;) {
        frame.magic = frame.magic >> 8 | (uint32_t)receive() << 24;
        if (frame.magic != MAGIC)
            continue;
        for (uint32_t n = 4; n < sizeof frame; n++)
            ((uint8_t *)&frame)[n] = receive();
        if (crc((const uint8_t *)&frame, 20) != frame.header_crc || frame.length > ROOM)
            continue;
        for (uint32_t n = 0; n < frame.length; n++)
            asked[n] = receive();
        obey(words, boot, &frame);
        frame.magic = 0;
    }
}
