# Linux's first program: says hello and how many CPUs there are, answers one line that is typed, powers off.
# By the system calls of 32-bit programs: emulated hosts do not leave user mode at the instruction SYSCALL.
        .code64
        .globl _start
        .equ    read, 3
        .equ    write, 4
        .equ    reboot, 88
        .equ    sched_getaffinity, 242
_start:
        mov     $sched_getaffinity, %eax
        xor     %ebx, %ebx
        mov     $128, %ecx
        mov     $buffer, %edx
        int     $0x80
        mov     buffer(%rip), %rax
        xor     %ecx, %ecx                      # count bits without popcnt
1:      mov     %rax, %rbx
        dec     %rbx
        test    %rax, %rax
        jz      2f
        and     %rbx, %rax
        inc     %ecx
        jmp     1b
2:      add     $'0', %cl
        mov     %cl, cpus(%rip)
        mov     $hello, %ecx
        mov     $hello_end - hello, %edx
        call    say
        mov     $read, %eax
        xor     %ebx, %ebx
        mov     $buffer, %ecx
        mov     $128, %edx
        int     $0x80
        mov     %eax, %esi
        mov     $heard, %ecx
        mov     $heard_end - heard, %edx
        call    say
        mov     $buffer, %ecx
        mov     %esi, %edx
        call    say
        mov     $reboot, %eax
        mov     $0xfee1dead, %ebx
        mov     $672274793, %ecx
        mov     $0x4321fedc, %edx
        int     $0x80
3:      jmp     3b
say:    mov     $write, %eax
        mov     $1, %ebx
        int     $0x80
        ret
hello:  .ascii  "rondo-guest cpus="
cpus:   .ascii  "?\n"
hello_end:
heard:  .ascii  "rondo-guest heard "
heard_end:
        .balign 8
buffer: .fill   128, 1, 0
