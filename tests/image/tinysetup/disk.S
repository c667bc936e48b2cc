/* The boot sector of the installed disk: loads 64 sectors behind it to 0x8000 and goes there. */
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7C00, %sp
    sti
    mov $packet, %si
    mov $0x42, %ah                      /* extended read, int 13h */
    mov $0x80, %dl
    int $0x13
    jc  1f
    mov $0x80, %dl
    ljmp $0x0800, $0
1:  hlt
    jmp 1b
packet:
    .byte 16, 0
    .word 64                            /* sectors */
    .word 0, 0x0800                     /* to 0800:0000 */
    .quad 1
