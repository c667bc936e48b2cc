/* One request and its answer, whatever way they came. */
#ifndef RUNNER_REQUEST_H
#define RUNNER_REQUEST_H

#include <windows.h>

#include "frames.h"

typedef struct REQUEST {
    uint8_t major;
    uint16_t type;
    uint32_t id;
    const unsigned char *payload;
    size_t size;
    HANDLE cancel; /* set when the host no longer wants the command to run; may be NULL */
} REQUEST;

#define ANSWER_INLINE 1024

/* What goes back: `type` is the reply's. `data` is `inside` or from malloc. */
typedef struct ANSWER {
    uint16_t type;
    unsigned char *data;
    size_t size;
    unsigned char inside[ANSWER_INLINE];
} ANSWER;

/* Carry out any request but PING, CANCEL and HOLD. Always gives an answer, be it a failure. */
void request_answer(const REQUEST *request, ANSWER *answer);

/* An answer that something failed without having been tried. */
void request_refuse(ANSWER *answer, unsigned error, const char *message);

void answer_free(ANSWER *answer);

/* The payload of CANCEL. FALSE when it is malformed; the answer says so then. */
BOOL cancel_decode(const REQUEST *request, uint32_t *id, ANSWER *answer);
void cancel_encode(ANSWER *answer, BOOL found);

/* Carry out HOLD, on the thread that reads. */
void request_hold(const REQUEST *request, ANSWER *answer);

#endif
