/* Native calls, found in ntdll at run time; a pointer is NULL where this system has no such routine. */
#ifndef RUNNER_NATIVE_H
#define RUNNER_NATIVE_H

#include <windows.h>

typedef LONG NT_STATUS;

#define STATUS_NOT_IMPLEMENTED_ ((NT_STATUS)0xC0000002)
#define STATUS_PRIVILEGE_NOT_HELD_ ((NT_STATUS)0xC0000061)
#define STATUS_PENDING_ ((NT_STATUS)0x00000103)
#define STATUS_LENGTH_MISMATCH_ ((NT_STATUS)0xC0000004)
/* Success, information and warnings carry data; errors (0xC.......) don't. */
#define NT_IS_ERROR(status) (((ULONG)(status) >> 30) == 3)
#define NT_IS_SUCCESS(status) ((NT_STATUS)(status) >= 0)

#define PRIVILEGE_LOAD_DRIVER 10
#define PRIVILEGE_SYSTEMTIME 12
#define PRIVILEGE_RESTORE 18
#define PRIVILEGE_SHUTDOWN 19
#define PRIVILEGE_DEBUG 20
#define PRIVILEGE_SYSTEM_ENVIRONMENT 22

typedef struct NT_STRING {
    USHORT length, maximum; /* bytes */
    const wchar_t *buffer;
} NT_STRING;

typedef struct NT_ATTRIBUTES {
    ULONG length;
    HANDLE root;
    NT_STRING *name;
    ULONG attributes;
    void *security, *quality;
} NT_ATTRIBUTES;

typedef struct NT_IO_STATUS {
    union {
        NT_STATUS status;
        void *pointer;
    };
    ULONG_PTR information;
} NT_IO_STATUS;

typedef struct NATIVE {
    NT_STATUS(NTAPI *load_driver)(NT_STRING *);
    NT_STATUS(NTAPI *unload_driver)(NT_STRING *);
    NT_STATUS(NTAPI *create_file)(HANDLE *, ULONG, NT_ATTRIBUTES *, NT_IO_STATUS *, LARGE_INTEGER *, ULONG, ULONG,
                                  ULONG, ULONG, void *, ULONG);
    NT_STATUS(NTAPI *device_control)(HANDLE, HANDLE, void *, void *, NT_IO_STATUS *, ULONG, const void *, ULONG,
                                     void *, ULONG);
    NT_STATUS(NTAPI *read_file)(HANDLE, HANDLE, void *, void *, NT_IO_STATUS *, void *, ULONG, LARGE_INTEGER *,
                                ULONG *);
    NT_STATUS(NTAPI *write_file)(HANDLE, HANDLE, void *, void *, NT_IO_STATUS *, const void *, ULONG,
                                 LARGE_INTEGER *, ULONG *);
    NT_STATUS(NTAPI *close)(HANDLE);
    NT_STATUS(NTAPI *query_system)(ULONG, void *, ULONG, ULONG *);
    NT_STATUS(NTAPI *query_open_keys)(NT_ATTRIBUTES *, ULONG, void *, ULONG *);
    NT_STATUS(NTAPI *query_firmware)(NT_STRING *, const GUID *, void *, ULONG *, ULONG *);
    NT_STATUS(NTAPI *set_system_time)(const LARGE_INTEGER *, LARGE_INTEGER *);
    NT_STATUS(NTAPI *raise_hard_error)(NT_STATUS, ULONG, ULONG, ULONG_PTR *, ULONG, ULONG *);
    NT_STATUS(NTAPI *set_process)(HANDLE, ULONG, void *, ULONG);
    NT_STATUS(NTAPI *adjust_privilege)(ULONG, BOOLEAN, BOOLEAN, BOOLEAN *);
    NT_STATUS(NTAPI *get_version)(OSVERSIONINFOEXW *);
    const char *(CDECL *wine_version)(void);
} NATIVE;

/* Looked up once. */
const NATIVE *native(void);

/* Whether ntdll has a routine of this name. */
BOOL native_has(const char *name);

/* Wine: some of its routines report success and do nothing. */
BOOL native_is_wine(void);

/* A 32-bit process on a 64-bit system, which can't read the structures of its kernel. */
BOOL native_is_wow64(void);

/* Enable a privilege of this process; STATUS_PRIVILEGE_NOT_HELD when its account hasn't got it. */
NT_STATUS native_enable(ULONG privilege);

/* What NtQuerySystemInformation says, whole: `size` bytes from malloc. NULL with its status when it doesn't. */
void *native_query_system(ULONG class, ULONG *size, NT_STATUS *status);

void native_string(NT_STRING *string, const wchar_t *text);

#endif
