/* SPDX-License-Identifier: MIT
 *
 * The first serial port, polled, and the ways to switch the machine off: the debug exit of a
 * virtual machine if there is one, else ACPI through the power management function of the PIIX4.
 */
#include "nano.h"

enum {
    COM1 = 0x3f8,
    UART_DATA = COM1 + 0,
    UART_IER = COM1 + 1,
    UART_DIVISOR_LOW = COM1 + 0,
    UART_DIVISOR_HIGH = COM1 + 1,
    UART_FCR = COM1 + 2,
    UART_LCR = COM1 + 3,
    UART_MCR = COM1 + 4,
    UART_LSR = COM1 + 5,
    LCR_8N1 = 0x03,
    LCR_DLAB = 0x80,
    FCR_ENABLE = 0x01,
    MCR_DTR_RTS = 0x03,
    LSR_THRE = 0x20,
};

void console_init(void)
{
    write_port8(UART_IER, 0);
    write_port8(UART_LCR, LCR_DLAB);
    write_port8(UART_DIVISOR_LOW, 1); /* 115,200 baud */
    write_port8(UART_DIVISOR_HIGH, 0);
    write_port8(UART_LCR, LCR_8N1);
    write_port8(UART_FCR, FCR_ENABLE);
    write_port8(UART_MCR, MCR_DTR_RTS);
}

static void put(char c)
{
    while (!(read_port8(UART_LSR) & LSR_THRE)) {
    }
    write_port8(UART_DATA, (uint8_t)c);
}

void console_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n') {
            put('\r');
        }
        put(*text);
    }
}

void console_number(uint32_t value)
{
    char digits[11];
    unsigned at = sizeof(digits) - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    console_text(&digits[at]);
}

enum {
    DEBUG_EXIT_PORT = 0xf4,
    PCI_ADDRESS = 0xcf8,
    PCI_DATA = 0xcfc,
    PCI_ENABLE = (int)0x80000000,
    PIIX4_PM_ID = 0x71138086,
    PIIX4_PMBA = 0x40, /* base of the power management ports; bit 0 is always set */
    PMBA_MASK = 0xffc0,
    PM1_CONTROL = 4,
    PM1_SLP_EN = 1 << 13, /* with SLP_TYP 0, which is soft off on the PIIX4 */
    PCI_FUNCTIONS = 32 * 8,
};

static uint32_t pci_read(unsigned function, unsigned offset)
{
    write_port32(PCI_ADDRESS, (uint32_t)PCI_ENABLE | function << 8 | offset);
    return read_port32(PCI_DATA);
}

void power_off(void)
{
    write_port8(DEBUG_EXIT_PORT, 0);
    for (unsigned function = 0; function < PCI_FUNCTIONS; function++) {
        if (pci_read(function, 0) == PIIX4_PM_ID) {
            uint16_t base = pci_read(function, PIIX4_PMBA) & PMBA_MASK;
            write_port16(base + PM1_CONTROL, PM1_SLP_EN);
        }
    }
    console_text("NANO-NO-POWER-OFF\n");
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}
