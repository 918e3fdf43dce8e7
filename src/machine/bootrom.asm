; SPDX-License-Identifier: MIT
;
; The option ROM behind -kernel: the firmware lists it as a boot device. It pulls what the host has
; prepared through fw_cfg's DMA interface and starts it: a Linux kernel by its real-mode setup code,
; a multiboot kernel in flat protected mode. All addresses and headers are the host's work
; (bootload.c); only what the firmware alone knows, the memory map, is filled in here.

bits 16
org 0

FW_CFG_SELECT   equ 0x510
FW_CFG_DATA     equ 0x511
FW_CFG_DMA_HIGH equ 0x514
FW_CFG_DMA_LOW  equ 0x518
DMA_ERROR       equ 1
DMA_READ        equ 2
DMA_SELECT      equ 8

KEY_KERNEL_ADDR equ 0x07
KEY_KERNEL_SIZE equ 0x08
KEY_INITRD_ADDR equ 0x0a
KEY_INITRD_SIZE equ 0x0b
KEY_KERNEL_ENTRY equ 0x10
KEY_KERNEL_DATA equ 0x11
KEY_INITRD_DATA equ 0x12
KEY_CMDLINE_ADDR equ 0x13
KEY_CMDLINE_SIZE equ 0x14
KEY_CMDLINE_DATA equ 0x15
KEY_SETUP_ADDR  equ 0x16
KEY_SETUP_SIZE  equ 0x17
KEY_SETUP_DATA  equ 0x18

STACK_TOP       equ 0x7c00
MULTIBOOT_MAGIC equ 0x2badb002
MBI_MEM_LOWER   equ 4
MBI_MEM_UPPER   equ 8
MBI_MMAP_LENGTH equ 44
MBI_MMAP_ADDR   equ 48
MMAP_ENTRY      equ 24          ; a size field of 4 bytes and what E820 returns
MMAP_MAX        equ 32
SMAP            equ 0x534d4150

ROM_BLOCKS      equ 2

        db 0x55, 0xaa, ROM_BLOCKS
init:
        retf
        times 0x1a - ($ - $$) db 0
        dw pnp
        align 16, db 0
pnp:    db '$PnP', 1, 2
        dw 0
        db 0
        db 0                    ; checksum: filled in by the host
        dd 0
        dw maker, product
        db 0, 0, 0, 0
        dw 0, 0, boot, 0, 0
maker:  db 'anello', 0
product: db 'kernel given by -kernel', 0
failed: db 'anello: the kernel could not be loaded', 13, 10, 0

; eax = 32-bit value of item dx'key in bx
read_item:
        push dx
        mov dx, FW_CFG_SELECT
        mov ax, bx
        out dx, ax
        mov dx, FW_CFG_DATA
        push cx
        mov cx, 4
        xor eax, eax
.byte:  ror eax, 8
        in al, dx
        loop .byte
        ror eax, 8
        pop cx
        pop dx
        ret

; Loads item data key in si, address key in di, size key in bp. Clobbers eax, bx, ecx, edx.
load_item:
        mov bx, bp
        call read_item
        mov ecx, eax
        jecxz .done
        mov bx, di
        call read_item
        bswap eax
        push eax                ; address, low half
        push dword 0            ; address, high half
        bswap ecx
        push ecx                ; length
        movzx eax, si
        shl eax, 16
        mov al, DMA_READ | DMA_SELECT
        bswap eax
        push eax                ; control: sp points at the descriptor
        mov dx, FW_CFG_DMA_HIGH
        xor eax, eax
        out dx, eax
        movzx eax, sp           ; ss is 0
        bswap eax
        mov dx, FW_CFG_DMA_LOW
        out dx, eax
        mov bx, sp
.wait:  mov eax, [ss:bx]
        bswap eax
        test eax, DMA_ERROR
        jnz fail
        test eax, eax
        jnz .wait
        add sp, 16
.done:  ret

fail:   mov si, failed
        push cs
        pop ds
.next:  lodsb
        test al, al
        jz .stop
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp .next
.stop:  hlt
        jmp .stop

boot:
        cli
        xor ax, ax
        mov ss, ax
        mov sp, STACK_TOP
        sti
        cld
        mov si, KEY_SETUP_DATA
        mov di, KEY_SETUP_ADDR
        mov bp, KEY_SETUP_SIZE
        call load_item
        mov si, KEY_CMDLINE_DATA
        mov di, KEY_CMDLINE_ADDR
        mov bp, KEY_CMDLINE_SIZE
        call load_item
        mov si, KEY_KERNEL_DATA
        mov di, KEY_KERNEL_ADDR
        mov bp, KEY_KERNEL_SIZE
        call load_item
        mov si, KEY_INITRD_DATA
        mov di, KEY_INITRD_ADDR
        mov bp, KEY_INITRD_SIZE
        call load_item
        mov bx, KEY_SETUP_ADDR
        call read_item
        mov esi, eax
        mov bx, KEY_KERNEL_ENTRY
        call read_item
        test eax, eax
        jnz multiboot

; Linux boot protocol: all segments at the setup sector, cs 20h paragraphs above.
        mov bx, KEY_CMDLINE_ADDR
        call read_item
        sub eax, esi
        sub eax, 16             ; the stack ends where the command line begins
        shr esi, 4
        cli
        mov ds, si
        mov es, si
        mov fs, si
        mov gs, si
        mov ss, si
        mov esp, eax
        add si, 0x20
        push si
        push word 0
        retf

; esi = address of the multiboot information, eax = entry point
multiboot:
        push eax
        mov eax, esi
        shr eax, 4
        mov es, ax
        int 0x12
        movzx eax, ax
        mov [es:MBI_MEM_LOWER], eax
        mov edi, [es:MBI_MMAP_ADDR]
        sub edi, esi
        xor ebx, ebx
        mov bp, MMAP_MAX
.entry: mov eax, 0xe820
        mov edx, SMAP
        mov ecx, 20
        add di, 4
        int 0x15
        lea di, [di - 4]
        jc .end
        cmp eax, SMAP
        jne .end
        mov dword [es:di], 20
        cmp dword [es:di + 4], 0x100000 ; RAM from 1 MiB on is mem_upper
        jne .next
        cmp dword [es:di + 8], 0
        jne .next
        cmp dword [es:di + 20], 1
        jne .next
        mov eax, [es:di + 12]
        mov edx, [es:di + 16]
        shrd eax, edx, 10
        mov [es:MBI_MEM_UPPER], eax
.next:  add di, MMAP_ENTRY
        add dword [es:MBI_MMAP_LENGTH], MMAP_ENTRY
        dec bp
        jz .end
        test ebx, ebx
        jnz .entry
.end:   pop ecx
        cli
        xor ebx, ebx
        mov bx, cs
        shl ebx, 4              ; ebx = linear address of this ROM
        lea eax, [ebx + gdt]
        push eax
        push word gdt_end - gdt - 1
        mov bp, sp
        o32 lgdt [bp]
        add sp, 6
        mov eax, cr0
        or al, 1
        mov cr0, eax
        lea eax, [ebx + flat]
        push dword 8
        push eax
        o32 retf

bits 32
flat:   mov ax, 16
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov ebx, esi
        mov eax, MULTIBOOT_MAGIC
        jmp ecx

        align 8, db 0
gdt:    dq 0
        dq 0x00cf9b000000ffff   ; 08: flat code
        dq 0x00cf93000000ffff   ; 10: flat data
gdt_end:

        times ROM_BLOCKS * 512 - 1 - ($ - $$) db 0
        db 0                    ; checksum: filled in by the host
