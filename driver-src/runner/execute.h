/* EXECUTE: a command with its input, its bounded output and its time-out. */
#ifndef RUNNER_EXECUTE_H
#define RUNNER_EXECUTE_H

#include "fields.h"

void execute(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
