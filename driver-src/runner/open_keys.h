/* OPEN_KEYS: who has keys open below a key. */
#ifndef RUNNER_OPEN_KEYS_H
#define RUNNER_OPEN_KEYS_H

#include "fields.h"

void open_keys(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
