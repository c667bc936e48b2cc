/* Devices: open, control, read, write, close, with the real NTSTATUS of each. */
#ifndef RUNNER_DEVICES_H
#define RUNNER_DEVICES_H

#include "fields.h"

void device_open(const REQUEST *request, const VALUE *values, REPLY *reply);
void device_control(const REQUEST *request, const VALUE *values, REPLY *reply);
void device_read(const REQUEST *request, const VALUE *values, REPLY *reply);
void device_write(const REQUEST *request, const VALUE *values, REPLY *reply);
void device_close(const REQUEST *request, const VALUE *values, REPLY *reply);

#endif
