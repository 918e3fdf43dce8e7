/* SPDX-License-Identifier: MIT
 *
 * A virtual CPU's life: creation, RESET, INIT, start-up, and the mode word that engines assume.
 */
#include "cpu/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "cpu/code_map.h"
#include "cpu/cpuid.h"
#include "cpu/flags.h"
#include "cpu/fpu.h"
#include "cpu/interp.h"
#include "cpu/mem.h"
#include "cpu/msr.h"
#include "cpu/seg.h"

/* ---- the physical map's news ---- */

static void forget_translations(struct vcpu *v)
{
    if (vcpu_on_own_thread(v))
        tlb_flush(v);
    vcpu_event_set(v, EVENT_FLUSH); /* linked blocks of one page do not ask the TLB */
}

static void heard_remapped(void *opaque, u64 pa, u64 size)
{
    (void)pa;
    (void)size;
    forget_translations(opaque);
}

static void heard_write_protected(void *opaque, u64 offset)
{
    struct vcpu *v = opaque;
    if (vcpu_on_own_thread(v))
        tlb_protect(v, offset);
    else
        vcpu_event_set(v, EVENT_FLUSH);
}

static void heard_code_written(void *opaque, u64 offset, u32 size)
{
    struct vcpu *v = opaque;
    if (v->code_written)
        v->code_written(v, offset, size);
}

void vcpu_bind_thread(struct vcpu *v)
{
    v->thread = pthread_self();
}

void vcpu_set_a20(struct vcpu *v, bool open)
{
    u64 mask = open ? ~(u64)0 : ~((u64)1 << 20);
    if (__atomic_exchange_n(&v->a20_mask, mask, __ATOMIC_SEQ_CST) != mask)
        forget_translations(v);
}

u64 vcpu_tsc(const struct vcpu *v)
{
    return __rdtsc() + (u64)v->tsc_offset;
}

/* ---- life ---- */

struct vcpu *vcpu_create(struct physmem *pm, const struct vcpu_hooks *hooks, struct log *log,
                         unsigned index, const char *model, const char **error)
{
    size_t size = align_up(sizeof(struct vcpu), _Alignof(struct vcpu));
    struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), size);
    if (!v) {
        *error = "out of memory for a virtual CPU";
        return NULL;
    }
    memset(v, 0, size);
    v->pm = pm;
    v->hooks = *hooks;
    v->log = log;
    v->index = index;
    v->a20_mask = ~(u64)0;
    vcpu_bind_thread(v);
    if (!cpu_model_select(v, model, error))
        goto no_model;
    *error = "the host gives no memory for a virtual CPU's code";
    if (!fpu_attach(v))
        goto no_fpu;
    if (!code_map_attach(v) || !interp_attach(v))
        goto no_interp;
    tlb_init(v);
    vcpu_reset(v);
    v->listener = (struct phys_listener){.remapped = heard_remapped,
                                         .code_written = heard_code_written,
                                         .write_protected = heard_write_protected,
                                         .opaque = v};
    physmem_listen(pm, &v->listener);
    return v;

no_interp:
    code_map_detach(v);
    fpu_detach(v);
no_fpu:
no_model:
    free(v);
    return NULL;
}

void vcpu_destroy(struct vcpu *v)
{
    if (!v)
        return;
    physmem_unlisten(v->pm, &v->listener);
    interp_detach(v);
    code_map_detach(v);
    fpu_detach(v);
    free(v);
}

/* ---- RESET, INIT, start-up (SDM 3A §9.1, table 9-1; §8.4) ---- */

#define ATTR_DATA (SEG_PRESENT | SEG_S | SEG_WRITABLE | SEG_ACCESSED)
#define TYPE_LDT  2
#define TYPE_TSS  0xb /* busy, 32 bits */

static struct segment real_segment(u16 sel, u64 base)
{
    return (struct segment){.base = base, .limit = 0xffff, .attr = ATTR_DATA, .sel = sel};
}

/* What RESET and INIT do alike. */
static void reset_registers(struct vcpu *v)
{
    for (unsigned i = 0; i < ARRAY_LEN(v->gpr); i++)
        v->gpr[i] = 0;
    v->gpr[REG_DX] = v->model->signature;
    v->rip = 0xfff0;
    v->at = NULL;
    flags_set(v, FLAG_ONE);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        v->seg[s] = real_segment(0, 0);
    v->seg[SEG_CS] = real_segment(0xf000, 0xffff0000);
    v->ldtr = (struct segment){.limit = 0xffff, .attr = SEG_PRESENT | TYPE_LDT};
    v->tr = (struct segment){.limit = 0xffff, .attr = SEG_PRESENT | TYPE_TSS};
    v->gdtr = v->idtr = (struct table_reg){.limit = 0xffff};
    seg_gdt_changed(v);
    cpuid_forget(v);
    v->cr2 = v->cr3 = v->cr4 = v->efer = 0;
    for (unsigned i = 0; i < ARRAY_LEN(v->dr); i++)
        v->dr[i] = 0;
    v->dr[6] = DR6_FIXED;
    v->dr[7] = DR7_FIXED;
    v->cpl = 0;
    v->shadow = 0;
    v->pending_db = 0;
    v->delivering = -1;
    v->external = false;
    v->nmi_blocked = false;
    v->wait_for_sipi = v->halted = v->index != 0;
}

void vcpu_reset(struct vcpu *v)
{
    fpu_put_away(v);
    reset_registers(v);
    v->cr0 = CR0_CD | CR0_NW | CR0_ET;
    v->xcr0 = 1;
    v->recent_count = 0;
    v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = 0;
    v->star = v->lstar = v->cstar = v->fmask = v->kernel_gs_base = v->tsc_aux = 0;
    v->pat = 0x0007040600070406; /* SDM 3A §11.12.4: WB WT UC- UC, twice */
    v->mtrr_def_type = 0;
    for (unsigned i = 0; i < ARRAY_LEN(v->mtrr_fixed); i++)
        v->mtrr_fixed[i] = 0;
    for (unsigned i = 0; i < ARRAY_LEN(v->mtrr_base); i++)
        v->mtrr_base[i] = v->mtrr_mask[i] = 0;
    v->misc_enable = MISC_FAST_STRINGS;
    v->feature_control = 1; /* locked, VMX off */
    v->mcg_status = 0;
    v->spec_ctrl = 0;
    v->tsc_offset = -(i64)__rdtsc();
    v->tsc_adjust = 0;
    fpu_reset(v);
    vcpu_event_clear(v, EVENT_NMI | EVENT_INIT | EVENT_SIPI);
    tlb_flush(v);
    vcpu_mode_changed(v);
}

void vcpu_init_signal(struct vcpu *v)
{
    u64 kept = v->cr0 & (CR0_CD | CR0_NW);
    reset_registers(v);
    v->cr0 = kept | CR0_ET;
    tlb_flush(v);
    vcpu_mode_changed(v);
}

void vcpu_startup(struct vcpu *v, u8 vector)
{
    v->seg[SEG_CS] = real_segment((u16)(vector << 8), (u64)vector << 12);
    v->rip = 0;
    v->wait_for_sipi = v->halted = false;
    vcpu_mode_changed(v);
}

void vcpu_send_sipi(struct vcpu *v, u8 vector)
{
    __atomic_store_n(&v->sipi_vector, vector, __ATOMIC_RELEASE);
    vcpu_event_set(v, EVENT_SIPI);
}

/* ---- the mode word ---- */

#define NO_LIMIT ((u64)1 << 63)

/* All that set_quick_limits() looks at, never 0. */
static u64 limits_made_from(const struct segment *s, bool protected)
{
    return s->limit | (u64)s->attr << 32 | (u64)s->unusable << 48 | (u64) protected << 49 |
           (u64)1 << 63;
}

/* Offsets that need no look at the descriptor: see struct segment. An access that wraps around at
 * the end of a 4 GiB segment is none beyond its limit. */
static void set_quick_limits(struct segment *s, bool protected)
{
    u64 end = s->limit == UINT32_MAX ? NO_LIMIT : (u64)s->limit + 1;
    bool code = s->attr & SEG_CODE;
    s->end_of = limits_made_from(s, protected);
    s->end[0] = s->end[1] = 0;
    s->limited = SEGMENT_LIMITED;
    if (s->unusable || (!code && (s->attr & SEG_EXPAND_DOWN)))
        return;
    /* Types are checked in protected mode only. */
    if (!protected || !code || (s->attr & SEG_WRITABLE))
        s->end[0] = end;
    if (!protected || (!code && (s->attr & SEG_WRITABLE)))
        s->end[1] = end;
    s->limited = s->end[0] & s->end[1] & NO_LIMIT ? 0 : SEGMENT_LIMITED;
}

/* Without a branch: kernels load segments all the time, and now one thing holds, now another. */
static bool is_flat(const struct vcpu *v)
{
    const struct segment *cs = &v->seg[SEG_CS], *ss = &v->seg[SEG_SS];
    const struct segment *ds = &v->seg[SEG_DS], *es = &v->seg[SEG_ES];
    u64 not_flat = cs->base | ss->base | ds->base | es->base | (cs->limit ^ UINT32_MAX);
    return !(ss->limited | ds->limited | es->limited) & (not_flat == 0);
}

static u32 mode_of_segments(const struct vcpu *v)
{
    const struct segment *cs = &v->seg[SEG_CS];
    u32 mode = is_flat(v) * (u32)MODE_FLAT;
    if ((v->efer & EFER_LMA) && (cs->attr & SEG_L))
        mode |= MODE_CS64;
    else if (cs->attr & SEG_DB)
        mode |= MODE_CS32;
    if (v->seg[SEG_SS].attr & SEG_DB)
        mode |= MODE_SS32;
    if (!cs->base)
        mode |= MODE_FLAT_CS;
    if ((cs->attr & (SEG_CODE | SEG_WRITABLE)) == SEG_CODE)
        mode |= MODE_XONLY;
    return mode;
}

static u32 compute_mode_of_control(const struct vcpu *v)
{
    u32 mode = 0;
    mode |= v->cr0 & CR0_PE ? MODE_PE : 0;
    mode |= v->cr0 & CR0_PG ? MODE_PG : 0;
    mode |= v->cr0 & CR0_TS ? MODE_TS : 0;
    mode |= v->cr0 & CR0_EM ? MODE_EM : 0;
    mode |= v->cr0 & CR0_MP ? MODE_MP : 0;
    mode |= v->cr4 & CR4_PAE ? MODE_PAE : 0;
    mode |= v->cr4 & CR4_OSFXSR ? MODE_OSFXSR : 0;
    mode |= v->cr4 & CR4_OSXSAVE ? MODE_OSXSAVE : 0;
    mode |= v->cr4 & CR4_UMIP ? MODE_UMIP : 0;
    mode |= v->efer & EFER_LMA ? MODE_LMA : 0;
    mode |= (v->xcr0 & 6) == 6 ? MODE_AVX : 0;
    mode |= v->dr[7] & DR7_ENABLES ? MODE_BREAK : 0;
    return mode;
}

bool vcpu_virtual_intr_due(const struct vcpu *v)
{
    const u64 both = FLAG_VIF | FLAG_VIP;
    bool virtual_flags = v->cr4 & (v->rflags & FLAG_VM ? CR4_VME : CR4_PVI);
    return (v->rflags & both) == both && v->cpl == 3 && virtual_flags;
}

/* They change seldom, flags and segments all the time. */
static u32 mode_of_control(struct vcpu *v)
{
    if (UNLIKELY(v->control.cr0 != v->cr0 || v->control.cr4 != v->cr4 ||
                 v->control.efer != v->efer || v->control.xcr0 != v->xcr0 ||
                 v->control.dr7 != v->dr[7])) {
        cpuid_forget(v);
        v->control.mode = compute_mode_of_control(v);
        v->control.cr0 = v->cr0;
        v->control.cr4 = v->cr4;
        v->control.efer = v->efer;
        v->control.xcr0 = v->xcr0;
        v->control.dr7 = v->dr[7];
    }
    return v->control.mode;
}

static u32 mode_of_flags(const struct vcpu *v)
{
    u32 mode = v->rflags & FLAG_DF ? MODE_DF : 0;
    mode |= v->rflags & FLAG_VM ? MODE_VM : 0;
    mode |= v->rflags & FLAG_TF ? MODE_TF : 0;
    mode |= vcpu_virtual_intr_due(v) ? MODE_BREAK : 0;
    if ((v->rflags & FLAG_AC) && (v->cr0 & CR0_AM) && v->cpl == 3)
        mode |= MODE_AC;
    return mode;
}

static void update_limits(struct segment *s, bool protected)
{
    if (UNLIKELY(s->end_of != limits_made_from(s, protected)))
        set_quick_limits(s, protected);
}

void vcpu_data_segment_changed(struct vcpu *v, unsigned s)
{
    update_limits(&v->seg[s], vcpu_protected(v));
    v->mode = (v->mode & ~(u32)MODE_FLAT) | is_flat(v) * (u32)MODE_FLAT;
}

void vcpu_mode_changed(struct vcpu *v)
{
    /* vcpu_protected() looks at it: set_quick_limits() wants to know whether descriptor types
     * count. */
    v->mode = mode_of_control(v) | mode_of_flags(v) | v->cpl;
    bool protected = vcpu_protected(v);
    for (unsigned s = 0; s < SEG_COUNT; s++)
        update_limits(&v->seg[s], protected);
    v->mode |= mode_of_segments(v);

    bool smap = v->cr4 & CR4_SMAP;
    v->sys_view = smap ? TLB_KERNEL_SMAP : TLB_KERNEL;
    if (v->cpl == 3)
        v->view = TLB_USER;
    else
        v->view = smap && !(v->rflags & FLAG_AC) ? TLB_KERNEL_SMAP : TLB_KERNEL;
    v->mode |= v->view == TLB_KERNEL_SMAP ? MODE_SMAP : 0;
    v->mode |= v->window_mode[v->cpl == 3];
}
