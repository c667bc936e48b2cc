/* Files of the guest: put, get, delete, digest. */
#ifndef RUNNER_FILES_H
#define RUNNER_FILES_H

#include "fields.h"

void file_put(const REQUEST *request, const VALUE *values, REPLY *reply);
void file_get(const REQUEST *request, const VALUE *values, REPLY *reply);
void file_delete(const REQUEST *request, const VALUE *values, REPLY *reply);
void file_digest(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
