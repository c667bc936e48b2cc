/*
 * Import tables of symbols that the import libraries do not have yet, written by hand.
 *
 *     IMPORTS_BEGIN [module]
 *     IMPORT name, bytes-of-arguments
 *     IMPORTS_END
 */
#ifdef __x86_64__
#define ENTRY .quad
#else
#define ENTRY .long
#endif

    .macro IMPORTS_BEGIN module=ntoskrnl.exe
    .section .idata$2, "w"
    .rva .Llookup
    .long 0, 0
    .rva .Lmodule, .Laddresses
    .section .idata$7, "w"
.Lmodule:
    .asciz "\module"
    .balign 2
    .section .idata$4, "w"
.Llookup:
    .section .idata$5, "w"
.Laddresses:
    .endm

    .macro IMPORT name, bytes
    .section .idata$6, "w"
.Lname_\name:
    .short 0
    .asciz "\name"
    .balign 2
    .section .idata$4, "w"
    .rva .Lname_\name
#ifdef __x86_64__
    .long 0
#endif
    .section .idata$5, "w"
#ifdef __x86_64__
    .globl __imp_\name
__imp_\name:
    .rva .Lname_\name
    .long 0
#else
    .globl "__imp__\name\()@\bytes"
"__imp__\name\()@\bytes":
    .rva .Lname_\name
#endif
    .endm

    .macro IMPORTS_END
    .section .idata$4, "w"
    ENTRY 0
    .section .idata$5, "w"
    ENTRY 0
    .endm
