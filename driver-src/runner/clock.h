/* The guest's clock, in microseconds since 1970 UTC. */
#ifndef RUNNER_CLOCK_H
#define RUNNER_CLOCK_H

#include "fields.h"

uint64_t clock_unix_us(void);
/* On Wine: a `date` program of the system below that sets the clock. Never without being told: it may be the clock
 * of somebody's own machine. */
void clock_set_by(const wchar_t *date);

void clock_set(const REQUEST *request, const VALUE *values, REPLY *reply);

/* Quotient of what x86 compilers would call a library for. */
uint64_t divide(uint64_t dividend, uint32_t divisor);

#endif
