/*
 * What the headers of the toolchain lack, and routines that exist on some Windows only.
 *
 * One x86 binary serves XP to today, so nothing newer than 5.1 may be a static import: the Cm
 * routines are resolved when the driver starts and called through `probe.routines`.
 */
#ifndef REGPROBE_COMPAT_H
#define REGPROBE_COMPAT_H

#include <ntifs.h>

#ifndef STATUS_CALLBACK_BYPASS
#define STATUS_CALLBACK_BYPASS ((NTSTATUS)0xC0000503L)
#endif
#define PROBE_STATUS_REVISION_MISMATCH ((NTSTATUS)0xC0000059L)
#define PROBE_STATUS_PROCEDURE_NOT_FOUND ((NTSTATUS)0xC000007AL)
#define PROBE_STATUS_ACCESS_VIOLATION ((NTSTATUS)0xC0000005L)

/* Notify classes of ne-wdm-_reg_notify_class; the toolchain's enumeration ends at 48. */
#define CLASS_SET_VALUE 1
#define CLASS_DELETE_VALUE 2
#define CLASS_XP_PRE_CREATE 10
#define CLASS_XP_POST_CREATE 11
#define CLASS_XP_PRE_OPEN 12
#define CLASS_XP_POST_OPEN 13
#define CLASS_PRE_CLOSE 14
#define CLASS_POST_SET_VALUE 16
#define CLASS_POST_CLOSE 25
#define CLASS_PRE_CREATE_EX 26
#define CLASS_POST_CREATE_EX 27
#define CLASS_PRE_OPEN_EX 28
#define CLASS_POST_OPEN_EX 29
#define CLASS_PRE_LOAD 32
#define CLASS_POST_LOAD 33
#define CLASS_POST_UNLOAD 35
#define CLASS_CONTEXT_CLEANUP 40
#define CLASS_PRE_QUERY_NAME 47
#define CLASS_POST_SAVE_MERGED 50
#define CLASS_COUNT 51
#define CLASS_NONE 0xFF

/* Pool that is not executable; exists from Windows 8 (POOL_TYPE, NonPagedPoolNx). */
#define PROBE_NON_PAGED_POOL_NX ((POOL_TYPE)512)

typedef NTSTATUS(NTAPI *CM_CALLBACK)(PVOID context, PVOID argument1, PVOID argument2);

/* NULL: this Windows does not have the routine. */
typedef struct _ROUTINES {
    NTSTATUS(NTAPI *register_callback)(CM_CALLBACK, PVOID, PLARGE_INTEGER);
    NTSTATUS(NTAPI *register_callback_ex)(CM_CALLBACK, PCUNICODE_STRING, PVOID, PVOID, PLARGE_INTEGER, PVOID);
    NTSTATUS(NTAPI *unregister_callback)(LARGE_INTEGER);
    VOID(NTAPI *get_callback_version)(PULONG, PULONG);
    NTSTATUS(NTAPI *set_object_context)(PVOID, PLARGE_INTEGER, PVOID, PVOID *);
    NTSTATUS(NTAPI *get_key_object_id)(PLARGE_INTEGER, PVOID, PULONG_PTR, PCUNICODE_STRING *);
    NTSTATUS(NTAPI *get_key_object_id_ex)(PLARGE_INTEGER, PVOID, PULONG_PTR, PCUNICODE_STRING *, ULONG);
    VOID(NTAPI *release_key_object_id_ex)(PCUNICODE_STRING);
    PVOID(NTAPI *get_bound_transaction)(PLARGE_INTEGER, PVOID);
    NTSTATUS(NTAPI *flush_key)(HANDLE); /* no import symbol in the x86 toolchain */
    ULONG found; /* REGPROBE_HAS_* */
} ROUTINES;

VOID RoutinesResolve(ROUTINES *routines);

/*
 * Copy bytes when either side may be user memory: STATUS_SUCCESS, or STATUS_ACCESS_VIOLATION with part
 * of the bytes copied. In assembly because gcc has no __try; see seh_copy_x64.S.
 */
NTSTATUS __cdecl seh_copy(PVOID destination, const VOID *source, SIZE_T length);
#ifdef _AMD64_
/* The same, for copies within the system's half of the address space. */
NTSTATUS seh_copy_system(PVOID destination, const VOID *source, SIZE_T length);
#endif

#endif
