/* SPDX-License-Identifier: MIT
 *
 * Runs little programs of 32- and 64-bit machine code on the CPU underneath and compares the
 * registers with which they reach HLT. A static program for a Linux guest, and for the host.
 *
 * Standard input has, for each program, lines of these forms (numbers hexadecimal):
 *
 *     test NAME
 *     mode 32|64
 *     map ADDRESS BYTES       memory, all zero
 *     data ADDRESS BYTES...   what is in it, code too
 *     gpr|xmm|mm NUMBER WORD...   a register at the end, in words of 64 bits; mm are physical
 *     run ADDRESS
 *
 * Each runs in a process of its own, with all general registers 0 and a fresh x87.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    MAX_MAPS = 16,
    MAX_EXPECTED = 64,
    MAX_WORDS = 4,
    SECONDS = 60,
    OPCODE_HLT = 0xf4,
    /* The local descriptors of 32-bit programs, which load their selectors. */
    LDT_CODE = 1,
    LDT_DATA = 2,
    LDT_STACK = 3,
    USER_DS = 0x2b, /* Linux' selector */
    SIGNAL_STACK = 1 << 16,
    YMM_AT = 576, /* upper halves in the XSAVE area */
    FSW_TOP_SHIFT = 11,
};

struct expected {
    char kind; /* 'g', 'x' or 'm' */
    unsigned number, words;
    uint64_t word[MAX_WORDS];
};

struct test {
    char name[256];
    unsigned mode;
    struct expected expected[MAX_EXPECTED];
    unsigned expectations;
};

/* The signal handler's only way to know. */
static const struct test *current;

/* ---- what is there at the end ---- */

static uint64_t gpr(const mcontext_t *m, unsigned number)
{
    static const unsigned char index[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                            REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                            REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)m->gregs[index[number & 15]];
}

static void read_register(const mcontext_t *m, const struct expected *e, uint64_t word[MAX_WORDS])
{
    const struct _libc_fpstate *fp = m->fpregs;
    unsigned n = e->number;
    memset(word, 0, MAX_WORDS * sizeof *word);
    if (e->kind == 'g') {
        word[0] = gpr(m, n);
    } else if (e->kind == 'x') {
        memcpy(word, &fp->_xmm[n & 15], 16);
        memcpy(word + 2, (const char *)fp + YMM_AT + (n & 15) * 16, 16);
    } else {
        unsigned top = fp->swd >> FSW_TOP_SHIFT & 7;
        memcpy(word, &fp->_st[(n - top) & 7], 10);
    }
}

static void compare(const mcontext_t *m)
{
    bool same = true;
    for (unsigned i = 0; i < current->expectations; i++) {
        const struct expected *e = &current->expected[i];
        uint64_t word[MAX_WORDS];
        read_register(m, e, word);
        for (unsigned k = 0; k < e->words; k++) {
            if (word[k] == e->word[k])
                continue;
            printf("  %s: %c%u[%u] is %016llx, expected %016llx\n", current->name, e->kind,
                   e->number, k, (unsigned long long)word[k], (unsigned long long)e->word[k]);
            same = false;
        }
    }
    printf("%s %s\n", same ? "PASS" : "FAIL", current->name);
    fflush(stdout);
    _exit(0);
}

static void caught(int signal, siginfo_t *info, void *context)
{
    const mcontext_t *m = &((const ucontext_t *)context)->uc_mcontext;
    const unsigned char *rip = (const unsigned char *)m->gregs[REG_RIP];
    (void)info;
    /* A general protection fault, not a page fault: the instruction is there to be read. */
    if (signal == SIGSEGV && m->gregs[REG_TRAPNO] == 13 && *rip == OPCODE_HLT)
        compare(m);
    printf("  %s: signal %d at %llx\nFAIL %s\n", current->name, signal, (unsigned long long)rip,
           current->name);
    fflush(stdout);
    _exit(0);
}

/* ---- running ---- */

static void catch_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP};
    stack_t stack = {.ss_sp = malloc(SIGNAL_STACK), .ss_size = SIGNAL_STACK};
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaction(signals[i], &action, NULL);
}

static unsigned selector(unsigned entry)
{
    return entry << 3 | 1 << 2 | 3;
}

static void make_descriptors(void)
{
    static const unsigned contents[] = {[LDT_CODE] = MODIFY_LDT_CONTENTS_CODE,
                                        [LDT_DATA] = MODIFY_LDT_CONTENTS_DATA,
                                        [LDT_STACK] = MODIFY_LDT_CONTENTS_DATA};
    for (unsigned entry = LDT_CODE; entry <= LDT_STACK; entry++) {
        struct user_desc d = {.entry_number = entry,
                              .limit = 0xfffff,
                              .seg_32bit = 1,
                              .contents = contents[entry],
                              .limit_in_pages = 1,
                              .useable = 1};
        syscall(SYS_modify_ldt, 0x11, &d, sizeof d);
    }
}

/* All general registers become 0, the stack pointer too. */
#define CLEAR                                                                                      \
    "fninit\n\tpush $0x202\n\tpopf\n\t"                                                            \
    "mov $0, %%eax\n\tmov $0, %%ebx\n\tmov $0, %%ecx\n\tmov $0, %%edx\n\t"                         \
    "mov $0, %%esi\n\tmov $0, %%edi\n\tmov $0, %%ebp\n\tmov $0, %%esp\n\t"                         \
    "mov $0, %%r8d\n\tmov $0, %%r9d\n\tmov $0, %%r10d\n\tmov $0, %%r11d\n\t"                       \
    "mov $0, %%r12d\n\tmov $0, %%r13d\n\tmov $0, %%r14d\n\tmov $0, %%r15d\n\t"

__attribute__((noreturn)) static void jump(uint64_t address, unsigned mode)
{
    static struct {
        uint32_t ip;
        uint16_t cs;
    } __attribute__((packed)) far;
    static uint64_t near;
    far.ip = (uint32_t)address;
    far.cs = (uint16_t)selector(LDT_CODE);
    near = address;
    if (mode == 32) {
        make_descriptors();
        __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(USER_DS));
        __asm__ volatile(CLEAR "ljmp *%0" : : "m"(far));
    }
    __asm__ volatile(CLEAR "jmp *%0" : : "m"(near));
    __builtin_unreachable();
}

static bool map(uint64_t address, uint64_t bytes)
{
    void *at = (void *)address;
    return mmap(at, bytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == at;
}

/* ---- reading ---- */

static void put_data(uint64_t address, char *words)
{
    unsigned char *at = (unsigned char *)address;
    char *save = NULL;
    for (char *w = strtok_r(words, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
        *at++ = (unsigned char)strtoul(w, NULL, 16);
}

static void expect(struct test *t, char kind, unsigned number, char *words)
{
    struct expected *e = &t->expected[t->expectations];
    char *save = NULL;
    if (t->expectations == MAX_EXPECTED)
        return;
    t->expectations++;
    *e = (struct expected){.kind = kind, .number = number};
    for (char *w = strtok_r(words, " \n", &save); w && e->words < MAX_WORDS;
         w = strtok_r(NULL, " \n", &save))
        e->word[e->words++] = strtoull(w, NULL, 16);
}

/* One line of a test, in its own process. False: it cannot run here. */
static bool take_line(struct test *t, char *line)
{
    unsigned long long a, b;
    unsigned number;
    int at = 0;
    if (sscanf(line, "mode %u", &t->mode) == 1)
        return true;
    if (sscanf(line, "map %llx %llx", &a, &b) == 2)
        return map(a, b);
    if (sscanf(line, "data %llx %n", &a, &at) == 1 && at) {
        put_data(a, line + at);
        return true;
    }
    if ((sscanf(line, "gpr %u %n", &number, &at) == 1 && at) ||
        (sscanf(line, "xmm %u %n", &number, &at) == 1 && at) ||
        (sscanf(line, "mm %u %n", &number, &at) == 1 && at)) {
        expect(t, line[0], number, line + at);
        return true;
    }
    if (sscanf(line, "run %llx", &a) == 1) {
        current = t;
        catch_signals();
        alarm(SECONDS);
        jump(a, t->mode);
    }
    return false;
}

/* Runs the lines of a test, which end with "run". */
static void run(char **lines, unsigned count, const char *name)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct test t = {.mode = 64};
        snprintf(t.name, sizeof t.name, "%s", name);
        for (unsigned i = 0; i < count; i++) {
            if (!take_line(&t, lines[i]))
                break;
        }
        printf("  %s: could not be set up\nFAIL %s\n", name, name);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status))
        printf("  %s: ended by signal %d\nFAIL %s\n", name, WTERMSIG(status), name);
}

int main(void)
{
    enum { MAX_LINES = 256 };
    char *lines[MAX_LINES], *line = NULL, name[256] = "";
    size_t size = 0;
    unsigned count = 0;
    while (getline(&line, &size, stdin) > 0) {
        if (sscanf(line, "test %255s", name) == 1)
            continue;
        if (count < MAX_LINES)
            lines[count++] = strdup(line);
        if (strncmp(line, "run ", 4))
            continue;
        run(lines, count, name);
        while (count)
            free(lines[--count]);
    }
    free(line);
    return 0;
}
