# The bundled bare guest: a 32-bit ELF file, headers written out by hand so that any assembler makes the same bytes.
#
# Entered as the Linux 32-bit boot protocol has it: flat protected mode, paging off, %esi -> boot_params, whose
# cmd_line_ptr (offset 0x228) points at the command line. It reads `workload_duration=N` (seconds) from there, runs
# four phases by the clock and powers off. Only instructions of the 80386 are used: where /dev/kvm is itself
# emulated, rarer ones are missing.
#
# Devices: 16550 at 0x3f8; clock at 0x700 (read: ms since the VM started), alarm at 0x704 (write: how many ms the
# next HLT sleeps); scratch registers at port 0x710 and at memory 0xd0000000; power-off: 0x2000 to port 0x604.

        .intel_syntax noprefix
        .code32
        .text
        .set BASE, 0x100000
        .set COM1, 0x3f8
        .set LSR, 0x3fd
        .set CLOCK, 0x700
        .set ALARM, 0x704
        .set SCRATCH, 0x710
        .set MMIO, 0xd0000000
        .set POWER, 0x604
        .set DEFAULT_S, 15
        .set LONGEST_S, 604800
        .set CMD_LINE_PTR, 0x228
        .set STACK, 0x90000

image:
        .byte 0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .word 2, 3                      # an executable, for the 80386
        .long 1, BASE + (_start - image), program - image, 0, 0
        .word 52, 32, 1, 0, 0, 0
program:
        .long 1, 0, BASE, BASE, end - image, end - image, 7, 4096

        .globl _start
_start:
        mov     esp, STACK
        cld
        mov     esi, [esi + CMD_LINE_PTR]
        call    parse_duration          # eax: seconds
        push    eax
        mov     esi, BASE + (hello - image)
        call    print
        pop     eax
        push    eax
        call    print_number
        call    newline
        pop     eax
        mov     ecx, 1000
        mul     ecx
        mov     [BASE + (duration_ms - image)], eax
        mov     dx, CLOCK
        in      eax, dx
        mov     [BASE + (started_ms - image)], eax
        mov     [BASE + (chunk_began - image)], eax

        mov     esi, BASE + (name_cpu - image)
        mov     eax, 28
        call    begin_phase
cpu:
        call    compute
        call    phase_over
        jb      cpu

        mov     esi, BASE + (name_idle - image)
        mov     eax, 45
        call    begin_phase
idle:
        mov     eax, 100
        call    sleep
        call    phase_over
        jb      idle

        mov     esi, BASE + (name_io - image)
        mov     eax, 73
        call    begin_phase
io:
        mov     ecx, 50
        call    access
        mov     eax, 20
        call    sleep
        call    phase_over
        jb      io

        mov     esi, BASE + (name_mixed - image)
        mov     eax, 100
        call    begin_phase
mixed:
        call    compute
        mov     ecx, 20
        call    access
        mov     eax, 20
        call    sleep
        call    phase_over
        jb      mixed

        mov     esi, BASE + (done - image)
        call    print
        mov     dx, POWER
        mov     ax, 0x2000
        out     dx, ax
stop:
        cli
        hlt
        jmp     stop

# begin_phase: esi: name, eax: percent of the whole after which it ends
begin_phase:
        push    eax
        push    esi
        mov     esi, BASE + (phase - image)
        call    print
        pop     esi
        call    print
        call    newline
        pop     eax
        mov     ecx, [BASE + (duration_ms - image)]
        mul     ecx
        mov     ecx, 100
        div     ecx
        mov     [BASE + (ends_ms - image)], eax
        ret

# phase_over: reads the clock; carry is set while the phase goes on
phase_over:
        mov     dx, CLOCK
        in      eax, dx
        sub     eax, [BASE + (started_ms - image)]
        cmp     eax, [BASE + (ends_ms - image)]
        ret

# compute: a chunk of plain arithmetic, its length steered by the clock towards 5 to 20 ms
compute:
        mov     dx, CLOCK
        in      eax, dx
        mov     [BASE + (chunk_began - image)], eax
        mov     ecx, [BASE + (chunk - image)]
        mov     eax, ecx
1:      add     eax, 0x9e3779b9
        rol     eax, 7
        xor     eax, ecx
        dec     ecx
        jnz     1b
        mov     dx, CLOCK
        in      eax, dx
        sub     eax, [BASE + (chunk_began - image)]
        mov     ecx, [BASE + (chunk - image)]
        cmp     eax, 5
        jae     2f
        cmp     ecx, 0x10000000
        jae     3f
        shl     ecx, 1
        jmp     3f
2:      cmp     eax, 20
        jbe     3f
        cmp     ecx, 512
        jbe     3f
        shr     ecx, 1
3:      mov     [BASE + (chunk - image)], ecx
        ret

# access: ecx times a port write, a port read, a memory write and a memory read
access:
1:      mov     dx, SCRATCH
        mov     eax, ecx
        out     dx, eax
        in      eax, dx
        mov     [MMIO], eax
        mov     eax, [MMIO + 4]
        dec     ecx
        jnz     1b
        ret

# sleep: eax: ms until the alarm wakes the HLT
sleep:
        mov     dx, ALARM
        out     dx, eax
        hlt
        ret

# parse_duration: esi: command line or 0; eax: seconds
parse_duration:
        test    esi, esi
        jz      none
scan:
        mov     edi, BASE + (key - image)
        mov     ebx, esi
1:      mov     al, [edi]
        test    al, al
        jz      found
        cmp     al, [ebx]
        jne     2f
        inc     edi
        inc     ebx
        jmp     1b
2:      cmp     byte ptr [esi], 0
        je      none
        inc     esi
        jmp     scan
found:
        xor     eax, eax
        xor     ecx, ecx
1:      mov     cl, [ebx]
        sub     cl, '0'
        cmp     cl, 9
        ja      2f
        imul    eax, eax, 10
        add     eax, ecx
        cmp     eax, LONGEST_S
        ja      3f
        inc     ebx
        jmp     1b
2:      test    eax, eax
        jz      none
        ret
3:      mov     eax, LONGEST_S
        ret
none:
        mov     eax, DEFAULT_S
        ret

# print: esi: text that ends with a zero
print:
        mov     al, [esi]
        test    al, al
        jz      1f
        call    put
        inc     esi
        jmp     print
1:      ret

newline:
        mov     al, 13
        call    put
        mov     al, 10

# put: al: one character, when the transmitter is empty
put:
        push    eax
        mov     dx, LSR
1:      in      al, dx
        test    al, 0x20
        jz      1b
        pop     eax
        mov     dx, COM1
        out     dx, al
        ret

# print_number: eax: unsigned, in decimal
print_number:
        mov     ecx, 10
        xor     ebx, ebx
1:      xor     edx, edx
        div     ecx
        push    edx
        inc     ebx
        test    eax, eax
        jnz     1b
2:      pop     eax
        add     al, '0'
        call    put
        dec     ebx
        jnz     2b
        ret

hello:          .asciz "rondo-guest 1 workload_duration="
key:            .asciz "workload_duration="
phase:          .asciz "rondo-guest phase "
name_cpu:       .asciz "cpu"
name_idle:      .asciz "idle"
name_io:        .asciz "io"
name_mixed:     .asciz "mixed"
done:           .asciz "rondo-guest done\r\n"
                .balign 4
chunk:          .long 1024
chunk_began:    .long 0
duration_ms:    .long 0
started_ms:     .long 0
ends_ms:        .long 0
end:
