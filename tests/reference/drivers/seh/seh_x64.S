/* Functions with hand-made scope tables: what compilers emit for __try, one case per function. */
    .text

/* ULONG guarded_read(const ULONG *p, ULONG *seen): constant filter; 0xBAD00000 | low code on a fault */
    .globl guarded_read
    .def guarded_read; .scl 2; .type 32; .endef
    .seh_proc guarded_read
guarded_read:
    pushq %rbx
    .seh_pushreg %rbx
    subq $0x20, %rsp
    .seh_stackalloc 0x20
    .seh_endprologue
    movq %rdx, %rbx
.Lgr_begin:
    movl (%rcx), %eax
    nop
.Lgr_end:
    jmp .Lgr_out
.Lgr_except:
    movl %eax, (%rbx)
    movl $0xBAD, %eax
.Lgr_out:
    addq $0x20, %rsp
    popq %rbx
    ret
    .seh_handler __C_specific_handler, @except, @unwind
    .seh_handlerdata
    .long 1
    .rva .Lgr_begin, .Lgr_end
    .long 1
    .rva .Lgr_except
    .text
    .seh_endproc

/* ULONG filtered_call(ULONG (*f)(void *), void *argument, struct filtered *out): a filter function decides.
   out: { ULONG verdict; ULONG code; ULONG calls; ULONG finallies; } */
    .globl filtered_call
    .def filtered_call; .scl 2; .type 32; .endef
    .seh_proc filtered_call
filtered_call:
    pushq %rbp
    .seh_pushreg %rbp
    pushq %rsi
    .seh_pushreg %rsi
    subq $0x48, %rsp
    .seh_stackalloc 0x48
    leaq 0x40(%rsp), %rbp
    .seh_setframe %rbp, 0x40
    movups %xmm6, 0x30(%rsp)
    .seh_savexmm %xmm6, 0x30
    .seh_endprologue
    movq %r8, -0x18(%rbp)
    movq %r8, %rsi
    movq %rcx, %rax
    movq %rdx, %rcx
.Lfc_begin:
    call *%rax
    nop
.Lfc_end:
    jmp .Lfc_out
.Lfc_except:
    movq -0x18(%rbp), %rcx
    cmpq %rcx, %rsi          /* non-volatile registers are this function's again */
    jne .Lfc_wrong
    movl %eax, 4(%rcx)
    movl $0xCA7C4, %eax
    jmp .Lfc_out
.Lfc_wrong:
    movl $0xBAD, %eax
.Lfc_out:
    movups 0x30(%rsp), %xmm6
    addq $0x48, %rsp
    popq %rsi
    popq %rbp
    ret
    .seh_handler __C_specific_handler, @except, @unwind
    .seh_handlerdata
    .long 1
    .rva .Lfc_begin, .Lfc_end
    .rva fc_filter
    .rva .Lfc_except
    .text
    .seh_endproc

/* LONG fc_filter(EXCEPTION_POINTERS *, void *frame): the frame is rbp of filtered_call minus 0x40 */
    .def fc_filter; .scl 3; .type 32; .endef
    .seh_proc fc_filter
fc_filter:
    pushq %rbp
    .seh_pushreg %rbp
    .seh_endprologue
    leaq 0x40(%rdx), %rbp
    movq -0x18(%rbp), %rdx
    addl $1, 8(%rdx)
    movq (%rcx), %rax          /* ExceptionRecord */
    movl (%rax), %eax
    movl %eax, 4(%rdx)
    movl (%rdx), %eax
    cmpl $-1, %eax
    jne 1f
    movq 8(%rcx), %rcx         /* ContextRecord: skip the two bytes of the faulting instruction */
    addq $2, 0xF8(%rcx)
    movq $0x77, 0x78(%rcx)
1:  popq %rbp
    ret
    .seh_endproc

/* ULONG with_finally(ULONG (*f)(void *), void *argument, struct filtered *out) */
    .globl with_finally
    .def with_finally; .scl 2; .type 32; .endef
    .seh_proc with_finally
with_finally:
    pushq %rbx
    .seh_pushreg %rbx
    subq $0x30, %rsp
    .seh_stackalloc 0x30
    .seh_endprologue
    movq %r8, %rbx
    movq %r8, 0x28(%rsp)
    movq %rcx, %rax
    movq %rdx, %rcx
.Lwf_begin:
    call *%rax
    nop
.Lwf_end:
    movl %eax, 0x20(%rsp)
    xorl %ecx, %ecx
    movq %rsp, %rdx
    call wf_finally
    movl 0x20(%rsp), %eax
    addq $0x30, %rsp
    popq %rbx
    ret
    .seh_handler __C_specific_handler, @except, @unwind
    .seh_handlerdata
    .long 1
    .rva .Lwf_begin, .Lwf_end
    .rva wf_finally
    .long 0
    .text
    .seh_endproc

/* void wf_finally(BOOLEAN abnormal, void *frame) */
    .def wf_finally; .scl 3; .type 32; .endef
    .seh_proc wf_finally
wf_finally:
    subq $8, %rsp
    .seh_stackalloc 8
    .seh_endprologue
    movq 0x28(%rdx), %rax
    movzbl %cl, %ecx
    shll $8, %ecx
    addl $1, %ecx
    addl %ecx, 12(%rax)        /* 1 for a normal end, 0x101 for an unwind */
    addq $8, %rsp
    ret
    .seh_endproc

/* ULONG big_frame(ULONG (*f)(void *), void *argument): large allocation, far saves, several registers */
    .globl big_frame
    .def big_frame; .scl 2; .type 32; .endef
    .seh_proc big_frame
big_frame:
    pushq %r12
    .seh_pushreg %r12
    pushq %rbx
    .seh_pushreg %rbx
    subq $0x1008, %rsp
    .seh_stackalloc 0x1008
    movq %rdi, 0x1000(%rsp)
    .seh_savereg %rdi, 0x1000
    movups %xmm7, 0x40(%rsp)
    .seh_savexmm %xmm7, 0x40
    .seh_endprologue
    movq $0x1212, %r12
    movq $0xBBBB, %rbx
    movq $0xD1D1, %rdi
    pxor %xmm7, %xmm7
    movq %rcx, %rax
    movq %rdx, %rcx
    call *%rax
    movups 0x40(%rsp), %xmm7
    movq 0x1000(%rsp), %rdi
    addq $0x1008, %rsp
    popq %rbx
    popq %r12
    ret
    .seh_endproc

/* ULONG leaf_read(void *): no unwind data at all */
    .globl leaf_read
leaf_read:
    movl (%rcx), %eax
    ret

/* ULONG read_8b01(void *): the two-byte instruction fc_filter skips */
    .globl two_byte_read
two_byte_read:
    .byte 0x8b, 0x01
    ret

/* ULONG divide(void *) */
    .globl divide
divide:
    xorl %edx, %edx
    movl $5, %eax
    movl %ecx, %r8d
    divl %r8d
    ret

    .globl undefined
undefined:
    ud2
    ret

    .globl breakpoint
breakpoint:
    int3
    movl $3, %eax
    ret

    .globl read_irql
read_irql:
    movq %cr8, %rax
    ret

    .globl write_irql
write_irql:
    movq %rcx, %cr8
    movq %cr8, %r9
    movq %r9, %rax
    ret

    .globl spin
spin:
    jmp spin
