/*
 * NTSTATUS __cdecl guarded_call(NTSTATUS (__stdcall *body)(void *), void *context)
 *
 * A registration record on fs:[0] whose handler unwinds with RtlUnwind and goes on behind the call, with the
 * exception's code in EAX.
 */
    .text
    .globl _guarded_call
_guarded_call:
    pushl %ebp
    movl %esp, %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl $_guarded_handler
    pushl %fs:0
    movl %esp, %fs:0
    pushl 12(%ebp)
    call *8(%ebp)
.Lresume:
    popl %fs:0
    addl $4, %esp
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

/* EXCEPTION_DISPOSITION handler(record, registration, context, dispatcher), __cdecl */
_guarded_handler:
    movl 4(%esp), %esi
    movl 8(%esp), %edi
    testl $6, 4(%esi)
    jnz .Lsearch
    pushl $0
    pushl %esi
    pushl $.Lunwound
    pushl %edi
    call _RtlUnwind@16
.Lunwound:
    movl (%esi), %eax
    movl %edi, %esp
    leal 20(%edi), %ebp
    jmp .Lresume
.Lsearch:
    movl $1, %eax
    ret
