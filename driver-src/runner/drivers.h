/* Kernel drivers as services: create, start, stop, delete, query. */
#ifndef RUNNER_DRIVERS_H
#define RUNNER_DRIVERS_H

#include "fields.h"

void driver_create(const REQUEST *request, const VALUE *values, REPLY *reply);
void driver_values(const REQUEST *request, const VALUE *values, REPLY *reply);
void driver_start(const REQUEST *request, const VALUE *values, REPLY *reply);
void driver_stop(const REQUEST *request, const VALUE *values, REPLY *reply);
void driver_delete(const REQUEST *request, const VALUE *values, REPLY *reply);
void driver_query(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
