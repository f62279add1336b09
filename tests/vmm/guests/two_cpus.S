# PVH guest: starts a second CPU through its local APIC, waits until that has written to a port three times, powers off.
        .code32
        .globl _start
_start:
        mov     $second, %esi
        mov     $0x8000, %edi
        mov     $second_end - second, %ecx
        rep movsb
        movl    $0x000001ff, 0xfee000f0         # the local APIC on
        movl    $0x01000000, 0xfee00310         # to APIC 1: INIT, then start-up at page 8
        movl    $0x00004500, 0xfee00300
        movl    $0x01000000, 0xfee00310
        movl    $0x00004608, 0xfee00300
1:      pause
        cmpw    $1, 0x8100
        jne     1b
        mov     $0x604, %edx
        mov     $0x2000, %eax
        out     %ax, %dx
        hlt
        .code16
second: mov     $0x55, %al
        out     %al, $0x99
        out     %al, $0x99
        out     %al, $0x99
        movw    $1, 0x8100
2:      cli
        hlt
        jmp     2b
second_end:
