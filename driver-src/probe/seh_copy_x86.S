/*
 * NTSTATUS __cdecl seh_copy(void *destination, const void *source, size_t length)
 *
 * An exception registration record of its own on fs:[0] (EXCEPTION_REGISTRATION_RECORD: Next, Handler)
 * instead of __try, which gcc lacks and which would need a C runtime.
 */
    .text
    .globl _seh_copy
_seh_copy:
    pushl %ebp
    movl %esp, %ebp
    pushl %esi
    pushl %edi
    pushl $_seh_copy_handler
    pushl %fs:0
    movl %esp, %fs:0
    movl 8(%ebp), %edi
    movl 12(%ebp), %esi
    movl 16(%ebp), %ecx
    cld
    shrl $2, %ecx
    rep movsl
    movl 16(%ebp), %ecx
    andl $3, %ecx
    rep movsb
    xorl %eax, %eax
seh_copy_resume:
    popl %fs:0
    addl $4, %esp
    popl %edi
    popl %esi
    popl %ebp
    ret

/*
 * EXCEPTION_DISPOSITION handler(record, registration, context, dispatcher), __cdecl.
 * Continues in seh_copy_resume with the status in EAX; an unwind through here is passed on.
 * Offsets are those of CONTEXT: Eax B0, Ebp B4, Eip B8, Esp C4.
 */
_seh_copy_handler:
    movl 4(%esp), %eax
    testl $6, 4(%eax)
    jnz 1f
    movl 12(%esp), %ecx
    movl 8(%esp), %eax
    movl $0xC0000005, 0xB0(%ecx)
    movl %eax, 0xC4(%ecx)
    addl $16, %eax
    movl %eax, 0xB4(%ecx)
    movl $seh_copy_resume, 0xB8(%ecx)
    xorl %eax, %eax
    ret
1:  movl $1, %eax
    ret
