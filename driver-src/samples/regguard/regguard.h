/*
 * The interface of regguard: \\.\RegGuard, and two values below the service's Parameters key.
 *
 *   ProtectedKey  REG_SZ  absolute path (\REGISTRY\MACHINE\...) whose values nobody may change
 *   Altitude      REG_SZ  where in the stack, 385200.1 when absent
 */
#ifndef REGGUARD_H
#define REGGUARD_H

/* Input: the new protected path as UTF-16 text without a terminator; empty: protect nothing. */
#define IOCTL_REGGUARD_PROTECT CTL_CODE(FILE_DEVICE_UNKNOWN, 0x810, METHOD_BUFFERED, FILE_WRITE_DATA)
/* Output: REGGUARD_STATUS. */
#define IOCTL_REGGUARD_STATUS CTL_CODE(FILE_DEVICE_UNKNOWN, 0x811, METHOD_BUFFERED, FILE_READ_DATA)

#define REGGUARD_MAX_PATH 512 /* characters */

typedef struct _REGGUARD_STATUS {
    ULONG refused; /* operations since the driver started */
    ULONG path_length; /* bytes of the path below */
    WCHAR path[REGGUARD_MAX_PATH];
} REGGUARD_STATUS;

#endif
