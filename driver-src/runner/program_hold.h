/*
 * How far the program is that runs, and before which of its operations it waits for the host. One program runs at a
 * time, on the worker; the thread that reads asks for it, and lets it go on.
 */
#ifndef RUNNER_PROGRAM_HOLD_H
#define RUNNER_PROGRAM_HOLD_H

#include <stdint.h>
#include <windows.h>

#include "protocol.h"
#include "reply.h"

#define HOLD_NOWHERE REGRUN_NO_HOLD

/* Called once before there is more than one thread. Without it nothing here has an effect, and no program waits. */
void hold_init(void);

/* -- the worker's ------------------------------------------------------------------------------------------- */

void hold_begin(unsigned operations);
/* Returns when operation `index` may be done; behind the last one come the handles that are still open. */
void hold_before(unsigned index);
void hold_after(unsigned index, uint32_t status);
/* The program has ended, or was refused: the next one waits only where the host says so again. */
void hold_end(void);

/* -- the reading thread's ------------------------------------------------------------------------------------ */

/* Let the program that runs, or the next one, go as far as before operation `before`, and no further. */
void hold_set(uint32_t before);
/* The reply to REGRUN_HOLD. */
void hold_tell(REPLY *reply, BOOL statuses);

#endif
