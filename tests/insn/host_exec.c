/* SPDX-License-Identifier: MIT
 *
 * The way in is IRET, which takes the trap flag, the stack and (for 32-bit code) the code segment
 * along with it: the trap comes after exactly one instruction. The way out is the signal handler,
 * which copies the interrupted context and redirects it to where host_exec() waits.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "host_exec.h"

enum {
    SEL_USER_CS32 = 0x23, /* Linux' GDT */
    SEL_USER_CS64 = 0x33,
    SEL_USER_DS = 0x2b,
};
#define RFLAGS_ONE  ((u64)1 << 1)
#define RFLAGS_TF   ((u64)1 << 8)
#define RFLAGS_IF   ((u64)1 << 9)
#define RFLAGS_RF   ((u64)1 << 16)
#define RFLAGS_USER 0x244cd5 /* CF PF AF ZF SF DF OF NT AC ID */

#define XSAVE_COMPONENTS 7 /* x87, SSE, AVX */
#define XSAVE_HEADER     512
#define XSAVE_YMM        576
#define ALT_STACK_BYTES  KIB(256)

/* In the order in which enter pops them. */
struct entry_frame {
    u64 gpr[16]; /* RSP's place is skipped */
    u64 rip, cs, rflags, rsp, ss;
};

/* Signal plumbing. */
static struct host_state *result;
static struct host_trap trap;
static u64 resume_rip, resume_rsp;
static bool running, have_xsave;

static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
static struct sigaction previous[ARRAY_LEN(signals)];

static const int encoding_order[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* The kernel leaves a component out of the frame's header when it is in its initial state. */
static void take_vector_state(const struct _libc_fpstate *from)
{
    const u8 *area = (const u8 *)from;
    memcpy(result->xsave, area, XSAVE_HEADER);
    u64 present = have_xsave ? load64(area + XSAVE_HEADER) : 3;
    memset(result->xsave + XSAVE_HEADER, 0, HOST_XSAVE_BYTES - XSAVE_HEADER);
    store64(result->xsave + XSAVE_HEADER, present & XSAVE_COMPONENTS);
    if (present & 4)
        memcpy(result->xsave + XSAVE_YMM, area + XSAVE_YMM, HOST_XSAVE_BYTES - XSAVE_YMM);
    if (!(present & 2))
        memset(result->xsave + 160, 0, 256);
    if (!(present & 1)) {
        memset(result->xsave, 0, 24);
        memset(result->xsave + 32, 0, 128);
        store16(result->xsave, 0x37f);
    }
}

/* Not ours: perhaps of the CPU under test, which has stubs that trap. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        if (signals[i] != number)
            continue;
        if (previous[i].sa_flags & SA_SIGINFO)
            previous[i].sa_sigaction(number, info, context);
        else
            signal(number, SIG_DFL); /* comes again and ends the test */
    }
}

static void __attribute__((used)) on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *regs = uc->uc_mcontext.gregs;
    if (!running) {
        pass_on(number, info, context);
        return;
    }
    running = false;
    for (unsigned i = 0; i < 16; i++)
        result->gpr[i] = (u64)regs[encoding_order[i]];
    result->rip = (u64)regs[REG_RIP];
    result->rflags = (u64)regs[REG_EFL] & RFLAGS_USER;
    take_vector_state(uc->uc_mcontext.fpregs);
    trap.vector = (unsigned)regs[REG_TRAPNO];
    trap.error = (u32)regs[REG_ERR];
    trap.cr2 = (u64)regs[REG_CR2];
    regs[REG_RIP] = (greg_t)resume_rip;
    regs[REG_RSP] = (greg_t)resume_rsp;
    regs[REG_EFL] = (greg_t)(RFLAGS_ONE | RFLAGS_IF);
    u16 *selectors = (u16 *)&regs[REG_CSGSFS]; /* CS, GS, FS, SS */
    selectors[0] = SEL_USER_CS64;
    selectors[3] = SEL_USER_DS;
}

/* The handler inherits the guest's alignment-check flag: C code must not run with it. */
static __attribute__((naked)) void trap_entry(void)
{
    __asm__("pushfq\n\t"
            "andq $~0x40000, (%rsp)\n\t"
            "popfq\n\t"
            "jmp on_trap");
}

bool host_exec_init(void)
{
    u32 a, b, c = 0, d, data = SEL_USER_DS;
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(data)); /* for 32-bit code */
    __get_cpuid(1, &a, &b, &c, &d);
    have_xsave = c & bit_OSXSAVE;
    stack_t stack = {.ss_size = ALT_STACK_BYTES};
    stack.ss_sp =
        mmap(NULL, ALT_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL) != 0)
        return false;
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    action.sa_sigaction = (void (*)(int, siginfo_t *, void *))(void (*)(void))trap_entry;
    sigfillset(&action.sa_mask);
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        struct sigaction old;
        sigdelset(&action.sa_mask, signals[i]);
        if (sigaction(signals[i], &action, &old) != 0)
            return false;
        if (old.sa_sigaction != action.sa_sigaction)
            previous[i] = old;
    }
    return true;
}

/* Leaves for the instruction; the handler comes back to the label behind IRETQ. */
static __attribute__((noinline)) void enter(struct entry_frame *frame, const u8 *xsave)
{
    u64 low = XSAVE_COMPONENTS;
    __asm__ volatile("mov %%rbp, %%r9\n\t" /* survives in the resumed context's stack */
                     "push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n\t"
                     "lea 1f(%%rip), %%r8\n\t"
                     "mov %%r8, %[rip]\n\t"
                     "mov %%rsp, %[rsp]\n\t"
                     "mov %[frame], %%rsp\n\t"
                     "xor %%edx, %%edx\n\t"
                     "cmpb $0, %[have]\n\t"
                     "je 2f\n\t"
                     "xrstor64 (%[xsave])\n\t"
                     "jmp 3f\n\t"
                     "2: fxrstor64 (%[xsave])\n\t"
                     "3: pop %%rax; pop %%rcx; pop %%rdx; pop %%rbx\n\t"
                     "add $8, %%rsp\n\t"
                     "pop %%rbp; pop %%rsi; pop %%rdi\n\t"
                     "pop %%r8; pop %%r9; pop %%r10; pop %%r11\n\t"
                     "pop %%r12; pop %%r13; pop %%r14; pop %%r15\n\t"
                     "iretq\n\t"
                     "1: pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx\n\t"
                     "fninit\n\t"
                     : [rip] "=m"(resume_rip), [rsp] "=m"(resume_rsp),
                       "+a"(low), [frame] "+D"(frame), [xsave] "+S"(xsave)
                     : [have] "m"(have_xsave)
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
}

struct host_trap host_exec(unsigned mode, struct host_state *s)
{
    static const u32 sane_mxcsr = 0x1f80;
    struct entry_frame frame = {.rip = s->rip,
                                .cs = mode == 64 ? SEL_USER_CS64 : SEL_USER_CS32,
                                .rflags =
                                    (s->rflags & RFLAGS_USER) | RFLAGS_ONE | RFLAGS_TF | RFLAGS_IF,
                                .rsp = s->gpr[4],
                                .ss = SEL_USER_DS};
    memcpy(frame.gpr, s->gpr, sizeof frame.gpr);
    result = s;
    running = true;
    enter(&frame, s->xsave);
    __asm__ volatile("ldmxcsr %0" : : "m"(sane_mxcsr));
    if (have_xsave)
        __asm__ volatile("vzeroupper");
    return trap;
}
