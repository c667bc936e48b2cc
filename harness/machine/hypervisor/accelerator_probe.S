/*
 * The boot sector that tries an accelerator (accelerator.py holds its bytes; a test assembles this again):
 * real, protected and long mode, paging, timer interrupts and the return from them, and a loop of fifty million
 * rounds, which takes a processor some 20 ms and a KVM that only pretends minutes. Ends QEMU by isa-debug-exit.
 */
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    in $0x92, %al
    or $2, %al
    out %al, $0x92                          /* A20 */
    lgdt gdt_pointer
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $0x08, $protected

    .code32
protected:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x7C00, %esp
    mov $0xFE, %al                          /* the timer alone, where the BIOS put it: vector 8 */
    out %al, $0x21
    mov $0xFF, %al
    out %al, $0xA1
    movl $tick + 0x80000, 0x1040            /* selector 8, the handler's address */
    movl $0x8E00, 0x1044
    lidt idt_pointer
    movl $0, 0x500
    sti
1:  hlt
    cmpl $2, 0x500
    jb 1b
    cli

    mov $0x2000, %edi                       /* three page tables: the first 2 MB as they are */
    xor %eax, %eax
    mov $0xC00, %ecx
    rep stosl
    movl $0x3003, 0x2000
    movl $0x4003, 0x3000
    movl $0x83, 0x4000
    mov %cr4, %eax
    or $0x20, %al
    mov %eax, %cr4
    mov $0x2000, %eax
    mov %eax, %cr3
    mov $0xC0000080, %ecx                   /* EFER.LME */
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    ljmp $0x18, $long_mode

tick:
    incl 0x500
    push %eax
    mov $0x20, %al
    out %al, $0x20
    pop %eax
    iret

    .code64
long_mode:
    mov $50000000, %ecx
1:  dec %ecx
    jnz 1b
    mov $0x2A, %al
    out %al, $0xF4
2:  hlt
    jmp 2b

    .align 8
gdt:
    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00AF9A000000FFFF
gdt_pointer:
    .word . - gdt - 1
    .long gdt
idt_pointer:
    .word 0x7FF
    .long 0x1000

    .org 510
    .word 0xAA55
