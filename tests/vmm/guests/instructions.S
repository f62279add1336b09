# Runs the instructions that hosts which emulate /dev/kvm lack, and sends what each left behind to the serial port.
        .code64
        .globl _start
_start:
        mov     $0x80000, %esp
        mov     %cr4, %rax
        or      $0x600, %eax                    # OSFXSR, OSXMMEXCPT
        mov     %rax, %cr4
        lea     handler(%rip), %rax             # an interrupt gate for vector 3
        lea     idt+48(%rip), %rdi
        mov     %ax, (%rdi)
        movw    $0x10, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shr     $16, %rax
        mov     %ax, 6(%rdi)
        movl    $0, 8(%rdi)
        lidt    idtr(%rip)
        lea     results(%rip), %rdi

        movabs  $0xf0f0f0f0f0f0f0f1, %rax
        popcnt  %rax, %rbx
        mov     %rbx, (%rdi)
        mov     $-1, %r9
        popcntl number(%rip), %r9d
        mov     %r9, 8(%rdi)

        xor     %r14d, %r14d
        xor     %r15d, %r15d
        int3
        inc     %r14
        int3
        inc     %r14
        mov     %r14, 16(%rdi)
        mov     %r15, 24(%rdi)

        mov     $7, %eax
        xor     %ecx, %ecx
        cpuid
        movq    $1, 32(%rdi)                    # where CPUID has no SMAP the next two do not exist
        bt      $20, %ebx
        jnc     1f
        stac
        pushf
        popq    %rax
        shr     $18, %rax
        and     $1, %eax
        mov     %rax, 32(%rdi)
        clac
        pushf
        popq    %rax
        shr     $18, %rax
        and     $1, %eax
        mov     %rax, 40(%rdi)
1:
        fwait
        ldmxcsr control(%rip)
        lea     results(%rip), %rbp
        mov     $6, %ecx
        stmxcsr (%rbp,%rcx,8)

        mov     $1, %eax                        # equal: exchanged
        mov     $2, %edx
        mov     $3, %ebx
        mov     $4, %ecx
        lock cmpxchg16b pair(%rip)
        setz    56(%rdi)
        mov     $9, %eax                        # not equal: loaded
        lock cmpxchg16b pair(%rip)
        setz    57(%rdi)
        mov     %rax, 64(%rdi)
        mov     %rdx, 72(%rdi)

        lea     results(%rip), %rsi
        mov     $80, %ecx
        mov     $0x3f8, %edx
2:      lodsb
        out     %al, %dx
        dec     %ecx
        jnz     2b
        mov     $0x604, %edx
        mov     $0x2000, %eax
        out     %ax, %dx
        hlt

handler:
        inc     %r15
        iretq

        .balign 16
pair:   .quad   1, 2
number: .long   0x80000001
control: .long  0x1fa0
idtr:   .word   16 * 8 - 1
        .quad   idt
        .balign 16
idt:    .fill   16, 8, 0
results: .fill  10, 8, 0
