/* Multiboot header and entry: 32-bit protected mode, flat segments, interrupts off. */
    .set MAGIC, 0x1BADB002
    .set FLAGS, 0x00000002          /* the loader says how much memory there is */

    .section .multiboot, "a"
    .align 4
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)

    .text
    .globl _start
_start:
    mov $stack_top, %esp
    push $0
    popf
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    push %ebx                       /* the multiboot information */
    call tiny_main
2:  cli
    hlt
    jmp 2b

/* Every interrupt only ends a hlt; the work is done by the main loop. */
    .globl wake_master, wake_slave
wake_slave:
    push %eax
    mov $0x20, %al
    out %al, $0xA0
    out %al, $0x20
    pop %eax
    iret
wake_master:
    push %eax
    mov $0x20, %al
    out %al, $0x20
    pop %eax
    iret

    .section .rodata
    .align 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF
    .quad 0x00CF92000000FFFF
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .bss
    .align 16
    .skip 16384
stack_top:
