/* SPDX-License-Identifier: MIT
 *
 * The devices on the ISA bus, inside the bridge's Device.
 */

/* Ports of the board that belong to no device of their own */
Device (MBRD)
{
    Name (_HID, EisaId ("PNP0C02"))
    Name (_UID, 0x01)
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0092, 0x0092, 0x01, 0x01)
        IO (Decode16, 0x00B2, 0x00B2, 0x01, 0x02)
        IO (Decode16, 0x04D0, 0x04D0, 0x01, 0x02)
        IO (Decode16, 0x0600, 0x0600, 0x01, 0x40)
    })
}

Device (PIC)
{
    Name (_HID, EisaId ("PNP0000"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0020, 0x0020, 0x01, 0x02)
        IO (Decode16, 0x00A0, 0x00A0, 0x01, 0x02)
        IRQNoFlags () { 2 }
    })
}

Device (TIMR)
{
    Name (_HID, EisaId ("PNP0100"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
        IRQNoFlags () { 0 }
    })
}

Device (DMAC)
{
    Name (_HID, EisaId ("PNP0200"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0000, 0x0000, 0x01, 0x10)
        IO (Decode16, 0x0080, 0x0080, 0x01, 0x10)
        IO (Decode16, 0x00C0, 0x00C0, 0x01, 0x20)
        DMA (Compatibility, NotBusMaster, Transfer8_16) { 4 }
    })
}

Device (RTC)
{
    Name (_HID, EisaId ("PNP0B00"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
        IRQNoFlags () { 8 }
    })
}

Device (SPKR)
{
    Name (_HID, EisaId ("PNP0800"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0061, 0x0061, 0x01, 0x01)
    })
}

Device (FPU)
{
    Name (_HID, EisaId ("PNP0C04"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x00F0, 0x00F0, 0x01, 0x01)
        IRQNoFlags () { 13 }
    })
}

Device (KBD)
{
    Name (_HID, EisaId ("PNP0303"))
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
        IRQNoFlags () { 1 }
    })
}

Device (MOU)
{
    Name (_HID, EisaId ("PNP0F13"))
    Name (_CRS, ResourceTemplate ()
    {
        IRQNoFlags () { 12 }
    })
}

Device (COM1)
{
    Name (_HID, EisaId ("PNP0501"))
    Name (_UID, 0x01)
    Method (_STA, 0, NotSerialized)
    {
        If (LGreater (\SERN, 0x00))
        {
            Return (0x0F)
        }
        Return (0x00)
    }
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
        IRQNoFlags () { 4 }
    })
}

Device (COM2)
{
    Name (_HID, EisaId ("PNP0501"))
    Name (_UID, 0x02)
    Method (_STA, 0, NotSerialized)
    {
        If (LGreater (\SERN, 0x01))
        {
            Return (0x0F)
        }
        Return (0x00)
    }
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x02F8, 0x02F8, 0x01, 0x08)
        IRQNoFlags () { 3 }
    })
}

Device (FDC0)
{
    Name (_HID, EisaId ("PNP0700"))
    Method (_STA, 0, NotSerialized)
    {
        If (\FLPS)
        {
            Return (0x0F)
        }
        Return (0x00)
    }
    Name (_CRS, ResourceTemplate ()
    {
        IO (Decode16, 0x03F2, 0x03F2, 0x01, 0x04)
        IO (Decode16, 0x03F7, 0x03F7, 0x01, 0x01)
        IRQNoFlags () { 6 }
        DMA (Compatibility, NotBusMaster, Transfer8) { 2 }
    })

    /* Which drives there are: a double word each; the last says that there is no tape. */
    Name (DRVS, Buffer (0x14) {})
    Method (_FDE, 0, Serialized)
    {
        CreateDWordField (DRVS, 0x00, DRV0)
        CreateDWordField (DRVS, 0x04, DRV1)
        CreateDWordField (DRVS, 0x10, TAPE)
        If (And (\FLPS, 0xF0))
        {
            Store (0x01, DRV0)
        }
        If (And (\FLPS, 0x0F))
        {
            Store (0x01, DRV1)
        }
        Store (0x02, TAPE)
        Return (DRVS)
    }

    /* Drive Arg0 of type Arg1: what INT 13h function 8 tells, and the drive's parameter table, here
     * of 1.44 MB. */
    Method (INFO, 2, Serialized)
    {
        Store (Package (16) {
            0x00, 0x04, 0x4F, 0x12, 0x01,
            0xAF, 0x02, 0x25, 0x02, 0x12, 0x1B, 0xFF, 0x6C, 0xF6, 0x0F, 0x08 }, Local0)
        Store (Arg0, Index (Local0, 0x00))
        Store (Arg1, Index (Local0, 0x01))
        If (LEqual (Arg1, 0x01))
        {
            Store (0x27, Index (Local0, 0x02))
            Store (0x09, Local1)
        }
        ElseIf (LEqual (Arg1, 0x02))
        {
            Store (0x0F, Local1)
        }
        ElseIf (LEqual (Arg1, 0x05))
        {
            Store (0x24, Local1)
        }
        Else
        {
            Store (0x12, Local1)
        }
        Store (Local1, Index (Local0, 0x03))
        Store (Local1, Index (Local0, 0x09))
        Return (Local0)
    }

    Device (FLPA)
    {
        Name (_ADR, 0x00)
        Method (_STA, 0, NotSerialized)
        {
            If (And (\FLPS, 0xF0))
            {
                Return (0x0F)
            }
            Return (0x00)
        }
        Method (_FDI, 0, NotSerialized)
        {
            Return (INFO (0x00, And (ShiftRight (\FLPS, 0x04), 0x0F)))
        }
    }

    Device (FLPB)
    {
        Name (_ADR, 0x01)
        Method (_STA, 0, NotSerialized)
        {
            If (And (\FLPS, 0x0F))
            {
                Return (0x0F)
            }
            Return (0x00)
        }
        Method (_FDI, 0, NotSerialized)
        {
            Return (INFO (0x01, And (\FLPS, 0x0F)))
        }
    }
}
