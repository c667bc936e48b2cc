/*
 * NTSTATUS guarded_call(NTSTATUS (*body)(void *), void *context)
 *
 * __try { return body(context); } __except (EXCEPTION_EXECUTE_HANDLER) { return GetExceptionCode(); }
 * The landing pad finds the code in EAX, where __C_specific_handler puts it.
 */
    .text
    .globl guarded_call
    .def guarded_call; .scl 2; .type 32; .endef
    .seh_proc guarded_call
guarded_call:
    pushq %rbp
    .seh_pushreg %rbp
    movq %rsp, %rbp
    .seh_setframe %rbp, 0
    subq $32, %rsp
    .seh_stackalloc 32
    .seh_endprologue
.Lbegin:
    movq %rcx, %rax
    movq %rdx, %rcx
    call *%rax
    nop
.Lend:
.Lfaulted:
    addq $32, %rsp
    popq %rbp
    ret
    .seh_handler __C_specific_handler, @except
    .seh_handlerdata
    .long 1
    .rva .Lbegin, .Lend
    .long 1
    .rva .Lfaulted
    .text
    .seh_endproc
