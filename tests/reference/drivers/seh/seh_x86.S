/* The x86 forms: registrations on fs:[0], by hand and through _except_handler3. */
    .text

/* ULONG guarded_read(const ULONG *p, ULONG *seen): a registration with its own handler */
    .globl _guarded_read@8
_guarded_read@8:
    pushl %ebp
    movl %esp, %ebp
    pushl %ebx
    pushl $gr_handler
    pushl %fs:0
    movl %esp, %fs:0
    movl 12(%ebp), %ebx
    movl 8(%ebp), %ecx
    movl (%ecx), %eax
    jmp gr_out
gr_except:
    movl 12(%ebp), %ebx
    movl %eax, (%ebx)
    movl $0xBAD, %eax
gr_out:
    popl %fs:0
    addl $4, %esp
    popl %ebx
    popl %ebp
    ret $8
gr_handler:
    movl 4(%esp), %eax
    testl $6, 4(%eax)
    jnz 1f
    movl (%eax), %edx
    movl 12(%esp), %ecx
    movl 8(%esp), %eax
    movl %edx, 0xb0(%ecx)
    movl %eax, 0xc4(%ecx)
    addl $12, %eax
    movl %eax, 0xb4(%ecx)
    movl $gr_except, 0xb8(%ecx)
    xorl %eax, %eax
    ret
1:  movl $1, %eax
    ret

/* ULONG filtered_call(f, argument, out): __try { f } __except (filter) as cl lays it out */
    .globl _filtered_call@12
_filtered_call@12:
    pushl %ebp
    movl %esp, %ebp
    pushl $-1
    pushl $fc_scopes
    pushl $__except_handler3
    pushl %fs:0
    movl %esp, %fs:0
    subl $8, %esp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %esp, -0x18(%ebp)
    movl $0, -4(%ebp)
    movl 12(%ebp), %eax
    pushl %eax
    call *8(%ebp)
    movl $-1, -4(%ebp)
    jmp fc_out
fc_filter:
    movl 16(%ebp), %edx
    addl $1, 8(%edx)
    movl -0x14(%ebp), %eax
    movl (%eax), %ecx
    movl (%ecx), %ecx
    movl %ecx, 4(%edx)
    movl 4(%eax), %ecx
    movl (%edx), %eax
    cmpl $-1, %eax
    jne 1f
    addl $2, 0xb8(%ecx)
    movl $0x77, 0xb0(%ecx)
1:  ret
fc_except:
    movl -0x18(%ebp), %esp
    movl $-1, -4(%ebp)
    movl $0xCA7C4, %eax
fc_out:
    movl -0x10(%ebp), %ecx
    movl %ecx, %fs:0
    popl %edi
    popl %esi
    popl %ebx
    movl %ebp, %esp
    popl %ebp
    ret $12

/* ULONG with_finally(f, argument, out) */
    .globl _with_finally@12
_with_finally@12:
    pushl %ebp
    movl %esp, %ebp
    pushl $-1
    pushl $wf_scopes
    pushl $__except_handler3
    pushl %fs:0
    movl %esp, %fs:0
    subl $8, %esp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %esp, -0x18(%ebp)
    movl $0, -4(%ebp)
    pushl 12(%ebp)
    call *8(%ebp)
    movl %eax, %ebx
    movl $-1, -4(%ebp)
    call wf_finally
    movl %ebx, %eax
    movl -0x10(%ebp), %ecx
    movl %ecx, %fs:0
    popl %edi
    popl %esi
    popl %ebx
    movl %ebp, %esp
    popl %ebp
    ret $12
wf_finally:
    call __abnormal_termination
    shll $8, %eax
    addl $1, %eax
    movl 16(%ebp), %edx
    addl %eax, 12(%edx)
    ret

/* ULONG big_frame(f, argument) */
    .globl _big_frame@8
_big_frame@8:
    pushl %ebp
    movl %esp, %ebp
    subl $0x800, %esp
    pushl 12(%ebp)
    call *8(%ebp)
    movl %ebp, %esp
    popl %ebp
    ret $8

    .globl _own_unwind@12
/* ULONG own_unwind(f, argument, out): a handler of its own that unwinds with RtlUnwind and jumps */
_own_unwind@12:
    pushl %ebp
    movl %esp, %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl $ou_handler
    pushl %fs:0
    movl %esp, %fs:0
    pushl 12(%ebp)
    call *8(%ebp)
    jmp ou_out
ou_land:
    movl $0xCA7C4, %eax
ou_out:
    popl %fs:0
    addl $4, %esp
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret $12
ou_handler:
    movl 4(%esp), %eax
    testl $6, 4(%eax)
    jz 1f
    movl $1, %eax
    ret
1:  movl 8(%esp), %ebx
    pushl $0
    pushl %eax
    pushl $2f
    pushl %ebx
    call _RtlUnwind@16
2:  movl %ebx, %esp
    leal 20(%ebx), %ebp
    jmp ou_land

    .globl _leaf_read@4
_leaf_read@4:
    movl 4(%esp), %ecx
    movl (%ecx), %eax
    ret $4

    .globl _two_byte_read@4
_two_byte_read@4:
    movl 4(%esp), %ecx
    .byte 0x8b, 0x01
    ret $4

    .globl _divide@4
_divide@4:
    xorl %edx, %edx
    movl $5, %eax
    movl 4(%esp), %ecx
    divl %ecx
    ret $4

    .globl _undefined@4
_undefined@4:
    ud2
    ret $4

    .globl _breakpoint@4
_breakpoint@4:
    int3
    movl $3, %eax
    ret $4

    .globl _spin@4
_spin@4:
    jmp _spin@4

    .section .rdata, "dr"
    .balign 4
fc_scopes:
    .long -1, fc_filter, fc_except
wf_scopes:
    .long -1, 0, wf_finally
