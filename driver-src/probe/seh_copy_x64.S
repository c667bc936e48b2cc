/*
 * NTSTATUS seh_copy(void *destination, const void *source, size_t length)
 *
 * A __try around a copy loop, written as the compiler of Windows would: one scope record for
 * __C_specific_handler with a constant filter (1: execute the handler), whose landing pad sets the status.
 * Eight bytes a move first: where memory accesses are watched one by one, it is an eighth of them.
 *
 * seh_copy_system is the same routine once more, for copies within the system's half of the address space:
 * a place of its own is never watched for user memory, and most copies are of this kind.
 */
    .macro GUARDED_COPY name
    .text
    .globl \name
    .def \name; .scl 2; .type 32; .endef
    .seh_proc \name
\name:
    pushq %rsi
    .seh_pushreg %rsi
    pushq %rdi
    .seh_pushreg %rdi
    .seh_endprologue
    movq %rcx, %rdi
    movq %rdx, %rsi
    movq %r8, %rcx
    shrq $3, %rcx
.Lguarded_begin\@:
    rep movsq
    movl %r8d, %ecx
    andl $7, %ecx
    rep movsb
.Lguarded_end\@:
    xorl %eax, %eax
    jmp .Lreturn\@
.Lfaulted\@:
    movl $0xC0000005, %eax
.Lreturn\@:
    popq %rdi
    popq %rsi
    ret
    .seh_handler __C_specific_handler, @except
    .seh_handlerdata
    .long 1
    .rva .Lguarded_begin\@, .Lguarded_end\@
    .long 1
    .rva .Lfaulted\@
    .text
    .seh_endproc
    .endm

    GUARDED_COPY seh_copy
    GUARDED_COPY seh_copy_system
