/* SPDX-License-Identifier: MIT
 *
 * What the operating system cannot find out by itself about the q35 board: as dsdt.asl, with the
 * eight interrupt lines of the ICH9. With an I/O APIC they arrive at its pins 16 to 23.
 *
 * The memory-mapped configuration space is where the SSDT says: \ECAM.
 */
DefinitionBlock ("", "DSDT", 1, "ANELLO", "ANELLOPC", 0x00000001)
{
    External (\PCIM, IntObj)
    External (\HPEN, IntObj)
    External (\SERN, IntObj)
    External (\FLPS, IntObj)
    External (\ECAM, IntObj)

    /* SLP_TYP of soft off, in PM1a control and PM1b control */
    Name (\_S5, Package (4) { 0x00, 0x00, 0x00, 0x00 })

    /* Which interrupt controller the operating system uses: 0 the 8259s, 1 the I/O APIC */
    Name (\PICM, 0x00)
    Method (\_PIC, 1, NotSerialized)
    {
        Store (Arg0, \PICM)
    }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0x00)

            Name (WIND, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite,
                    0x00000000, 0x80000000, 0xFEBFFFFF, 0x00000000, 0x7EC00000,
                    ,, PMEM)
            })

            Method (_CRS, 0, Serialized)
            {
                CreateDWordField (WIND, ^PMEM._MIN, WMIN)
                CreateDWordField (WIND, ^PMEM._MAX, WMAX)
                CreateDWordField (WIND, ^PMEM._LEN, WLEN)
                Store (\PCIM, WMIN)
                Add (Subtract (WMAX, WMIN), 0x01, WLEN)
                Return (WIND)
            }

            /* The line of pin p of slot s: E to H by (s + p) mod 4 for cards (slots below 25), A to D
             * by p for what is inside the ICH9, as its registers say after reset. */
            Method (LINE, 2, NotSerialized)
            {
                If (LLess (Arg0, 25))
                {
                    Return (Add (0x04, And (Add (Arg0, Arg1), 0x03)))
                }
                Return (Arg1)
            }

            /* A row for each line, to be completed by slot and pin */
            Name (LNKS, Package (8)
            {
                Package (4) { 0x00, 0x00, \_SB.LNKA, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKB, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKC, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKD, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKE, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKF, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKG, 0x00 },
                Package (4) { 0x00, 0x00, \_SB.LNKH, 0x00 }
            })

            Method (_PRT, 0, Serialized)
            {
                Store (Package (128) {}, Local0)
                Store (0x00, Local1)
                While (LLess (Local1, 128))
                {
                    Store (ShiftRight (Local1, 2), Local2)
                    Store (LINE (Local2, And (Local1, 0x03)), Local3)
                    If (\PICM)
                    {
                        Store (Package (4) { 0x00, 0x00, 0x00, 0x00 }, Local4)
                        Store (Add (Local3, 16), Index (Local4, 0x03))
                    }
                    Else
                    {
                        Store (DerefOf (Index (LNKS, Local3)), Local4)
                    }
                    Store (Or (ShiftLeft (Local2, 16), 0xFFFF), Index (Local4, 0x00))
                    Store (And (Local1, 0x03), Index (Local4, 0x01))
                    Store (Local4, Index (Local0, Local1))
                    Increment (Local1)
                }
                Return (Local0)
            }

            /* The LPC function of the ICH9 */
            Device (ISA)
            {
                Name (_ADR, 0x001F0000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x0C)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8,
                    Offset (0x08),
                    PRQE, 8,
                    PRQF, 8,
                    PRQG, 8,
                    PRQH, 8
                }

                /* The registers of the chipset in memory, and the configuration space */
                Device (CHIP)
                {
                    Name (_HID, EisaId ("PNP0C02"))
                    Name (_UID, 0x02)
                    Name (REGS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0640, 0x0640, 0x01, 0x40)
                        Memory32Fixed (ReadWrite, 0xFED1C000, 0x00004000)
                        Memory32Fixed (ReadWrite, 0x00000000, 0x10000000, ECFG)
                    })
                    Method (_CRS, 0, Serialized)
                    {
                        CreateDWordField (REGS, ^ECFG._BAS, BASE)
                        Store (\ECAM, BASE)
                        Return (REGS)
                    }
                }

#include "dsdt_isa.asl"
            }
        }

#include "dsdt_board.asl"
LINK (LNKE, 0x05, PRQE)
LINK (LNKF, 0x06, PRQF)
LINK (LNKG, 0x07, PRQG)
LINK (LNKH, 0x08, PRQH)
    }
}
