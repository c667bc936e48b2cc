/*
 * Entry of the tiny setup, in 16 bits at 0800:0000, where the CD's boot entry and the disk's boot sector put it.
 * Started from the CD (any drive but 0x80) it asks for a key, as install media do; for half a minute instead of
 * five seconds, because a busy host sends one late.
 */
    .code16
    .section .entry, "ax"
    .globl _start
_start:
    ljmp $0, $real
    .globl config
    .ascii "TINYCONF:"
config:
    .fill 64, 1, 0                      /* the test's wishes; see setup.c */
    .globl answers
    .ascii "TINYANSW:"
answers:
    .fill 2048, 1, 0                    /* what its runner answers, by the test; see runner.c */
real:
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7C00, %sp
    sti
    mov %dl, drive
    cmp $0x80, %dl
    je  protected
    mov $prompt, %si
    call say
flush:                                  /* what was pressed before the question is no answer */
    mov $1, %ah
    int $0x16
    jz  ask
    xor %ah, %ah
    int $0x16
    jmp flush
ask:
    xor %ah, %ah
    int $0x1A
    mov %dx, %bx
wait:
    mov $1, %ah
    int $0x16
    jnz protected
    xor %ah, %ah
    int $0x1A
    sub %bx, %dx                        /* the low word alone, which turns over once an hour */
    cmp $546, %dx                       /* ticks: half a minute */
    jb  wait
    mov $missed, %si
    call say
    int $0x18                           /* the next boot device */
say:
    lodsb
    test %al, %al
    jz  1f
    mov $0x0E, %ah
    mov $7, %bx
    int $0x10
    jmp say
1:  ret
protected:
    cli
    lgdt gdt_pointer
    mov %cr0, %eax
    or  $1, %al
    mov %eax, %cr0
    ljmp $0x08, $flat
    .code32
flat:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x70000, %esp
    movzbl drive, %eax
    push %eax
    call setup_main
1:  cli
    hlt
    jmp 1b
prompt: .asciz "Press any key to boot from CD or DVD....."
missed: .asciz "no key\r\n"
drive:  .byte 0
    .align 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF
    .quad 0x00CF92000000FFFF
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .section .rodata
    .globl boot_sector
    .align 4
boot_sector:
    .incbin "disk.bin"
