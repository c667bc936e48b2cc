/* POOL_TAGS and POOL_VERIFIED: what the kernel's pool is used for, by tag and by driver. */
#ifndef RUNNER_POOL_H
#define RUNNER_POOL_H

#include "fields.h"

#define POOL_TAG_SIZE 4

void pool_tags(const REQUEST *request, const VALUE *values, REPLY *reply);
void pool_verified(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
