/* The end of the guest: shutting down, crashing on purpose, and keeping still for a snapshot. */
#ifndef RUNNER_POWER_H
#define RUNNER_POWER_H

#include "fields.h"

void crash(const REQUEST *request, const VALUE *values, REPLY *reply);
void system_shutdown(const REQUEST *request, const VALUE *values, REPLY *reply);
void quiesce(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
