/* ENVIRONMENT: what the guest is, as docs/runner.md lists it. What can't be found out is null. */
#ifndef RUNNER_ENVIRONMENT_H
#define RUNNER_ENVIRONMENT_H

#include "fields.h"

void environment(const REQUEST *request, const VALUE *values, REPLY *reply);

/* Its parts: each adds its keys. */
void environment_system(REPLY *reply);   /* version, machine, user, clock */
void environment_security(REPLY *reply); /* secure boot, code integrity, virtualisation-based security, debugger */
void environment_kernel(REPLY *reply);   /* Driver Verifier, loaded drivers, file system filters */
void environment_calls(REPLY *reply);    /* native registry calls, and which of them only pretend */

/* A value below HKEY_LOCAL_MACHINE of the system's own bitness. FALSE when it isn't there or of another type.
 * A text is cut to what fits and ends with a NUL. */
BOOL machine_number(const wchar_t *key, const wchar_t *name, DWORD *number);
BOOL machine_text(const wchar_t *key, const wchar_t *name, wchar_t *text, DWORD units);

#endif
