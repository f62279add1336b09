# Linux's first program: says hello and how many CPUs there are, answers one line that is typed, powers off.
        .code64
        .globl _start
        .equ    read, 0
        .equ    write, 1
        .equ    sched_getaffinity, 204
        .equ    reboot, 169
_start:
        mov     $sched_getaffinity, %eax
        xor     %edi, %edi
        mov     $128, %esi
        lea     buffer(%rip), %rdx
        syscall
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
        lea     hello(%rip), %rsi
        mov     $hello_end - hello, %edx
        call    say
        mov     $read, %eax
        xor     %edi, %edi
        lea     buffer(%rip), %rsi
        mov     $128, %edx
        syscall
        mov     %rax, %rbx
        lea     heard(%rip), %rsi
        mov     $heard_end - heard, %edx
        call    say
        lea     buffer(%rip), %rsi
        mov     %rbx, %rdx
        call    say
        mov     $reboot, %eax
        mov     $0xfee1dead, %edi
        mov     $672274793, %esi
        mov     $0x4321fedc, %edx
        syscall
3:      jmp     3b
say:    mov     $write, %eax
        mov     $1, %edi
        syscall
        ret
hello:  .ascii  "rondo-guest cpus="
cpus:   .ascii  "?\n"
hello_end:
heard:  .ascii  "rondo-guest heard "
heard_end:
        .balign 8
buffer: .fill   128, 1, 0
