/*
 * harness: since 5.1
 *
 * A driver for tests of the emulator alone: DriverEntry gives out the addresses of its functions, which
 * the test then calls one by one.
 */
#include <ntddk.h>

ULONG NTAPI guarded_read(const ULONG *p, ULONG *seen);
ULONG NTAPI filtered_call(ULONG (NTAPI *f)(void *), void *argument, ULONG *out);
ULONG NTAPI with_finally(ULONG (NTAPI *f)(void *), void *argument, ULONG *out);
ULONG NTAPI big_frame(ULONG (NTAPI *f)(void *), void *argument);
ULONG NTAPI leaf_read(void *p);
ULONG NTAPI two_byte_read(void *p);
ULONG NTAPI divide(void *by);
ULONG NTAPI undefined(void *p);
ULONG NTAPI breakpoint(void *p);
ULONG NTAPI spin(void *p);
#ifdef _WIN64
ULONG_PTR read_irql(void);
ULONG_PTR write_irql(ULONG_PTR irql);
#else
ULONG NTAPI own_unwind(ULONG (NTAPI *f)(void *), void *argument, ULONG *out);
#endif

/* Calls through C, so that the stack has a frame with a line number. */
ULONG NTAPI nested_read(void *p)
{
    volatile ULONG value = leaf_read(p);
    return value + 1;
}

ULONG NTAPI raise_status(void *status)
{
    ExRaiseStatus((NTSTATUS)(ULONG_PTR)status);
    return 1;
}

struct nested {
    ULONG (NTAPI *inner)(void *);
    void *argument;
    ULONG *out;
};

ULONG NTAPI finally_inside(void *context)
{
    struct nested *n = context;
    return with_finally(n->inner, n->argument, n->out);
}

__attribute__((noinline)) ULONG NTAPI overflow(void *depth)
{
    volatile char waste[128];
    waste[0] = (char)(ULONG_PTR)depth;
    if ((ULONG_PTR)depth > 100000)
        return 0;
    return overflow((char *)depth + 1) + (ULONG)waste[0];
}

ULONG NTAPI copy_in_try(void *p)
{
    ULONG seen = 0, value;
    value = guarded_read(p, &seen);
    return seen ? seen : value;
}

static const ULONG constant = 0x1234;

ULONG NTAPI write_constant(void *value)
{
    *(volatile ULONG *)&constant = (ULONG)(ULONG_PTR)value;
    return constant;
}

ULONG NTAPI plain_write(void *p)
{
    *(volatile ULONG *)p = 7;
    return 7;
}

void *NTAPI allocate(ULONG size)
{
    return ExAllocatePoolWithTag(NonPagedPool, size, 'tseT');
}

static void *const table[] = {
    guarded_read, filtered_call, with_finally, big_frame, leaf_read, two_byte_read, divide, undefined,
    breakpoint, spin, nested_read, raise_status, finally_inside, overflow, copy_in_try, write_constant,
    plain_write, allocate,
#ifdef _WIN64
    read_irql, write_irql,
#else
    own_unwind,
#endif
};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    *(void *const **)driver = table;
    *(ULONG *)path = sizeof(table) / sizeof(table[0]);
    return STATUS_SUCCESS;
}
