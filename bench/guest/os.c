/* SPDX-License-Identifier: MIT
 *
 * Work for the operating system: system calls, processes, pipes, page faults, signals, files. In a
 * virtual machine this is where the guest's kernel runs and where page tables and address spaces
 * change.
 */
#include "bench.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096 };

static uint64_t getppid_loop(unsigned scale)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < scaled(1500000, scale); i++) {
        count += syscall(SYS_getppid) > 0;
    }
    return count;
}

static uint64_t fork_wait(unsigned scale)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < scaled(2500, scale); i++) {
        int status;
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            _exit((int)(i & 63));
        }
        must(waitpid(child, &status, 0) == child, "waitpid");
        sum = fold(sum, (uint32_t)WEXITSTATUS(status));
    }
    return sum;
}

static uint64_t fork_exec(unsigned scale)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < scaled(900, scale); i++) {
        int status;
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            execl("/proc/self/exe", "bench", "--exit", (char *)NULL);
            _exit(99);
        }
        must(waitpid(child, &status, 0) == child, "waitpid");
        sum = fold(sum, (uint32_t)WEXITSTATUS(status) + 1);
    }
    return sum;
}

/* Two processes hand a word to and fro. */
static uint64_t pipe_ping_pong(unsigned scale)
{
    int there[2];
    int back[2];
    uint32_t word;
    uint32_t value = 1;
    uint32_t rounds = scaled(60000, scale);
    must(pipe(there) == 0 && pipe(back) == 0, "pipe");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        for (uint32_t i = 0; i < rounds; i++) {
            must(read(there[0], &word, sizeof(word)) == sizeof(word), "read");
            word = word * 3 + i;
            must(write(back[1], &word, sizeof(word)) == sizeof(word), "write");
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < rounds; i++) {
        must(write(there[1], &value, sizeof(value)) == sizeof(value), "write");
        must(read(back[0], &value, sizeof(value)) == sizeof(value), "read");
    }
    must(waitpid(child, NULL, 0) == child, "waitpid");
    return value;
}

/* Bulk data through a pipe, in pieces of the pipe's own size. */
static uint64_t pipe_bulk(unsigned scale)
{
    enum { PIECE = 65536 };
    int ends[2];
    uint32_t pieces = scaled(12000, scale);
    uint8_t *buffer = must_malloc(PIECE);
    uint64_t sum = 0;
    memset(buffer, 1, PIECE);
    must(pipe(ends) == 0, "pipe");
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        close(ends[0]);
        for (uint32_t i = 0; i < pieces; i++) {
            buffer[i % PIECE] = (uint8_t)i;
            must(write(ends[1], buffer, PIECE) == PIECE, "write");
        }
        _exit(0);
    }
    close(ends[1]);
    for (;;) {
        ssize_t got = read(ends[0], buffer, PIECE);
        must(got >= 0, "read");
        if (got == 0) {
            break;
        }
        sum += (uint32_t)got;
    }
    must(waitpid(child, NULL, 0) == child, "waitpid");
    return sum;
}

/* Fresh anonymous memory: each touched page is a fault, a zeroed page and a new mapping. */
static uint64_t page_faults(unsigned scale)
{
    enum { PAGES = 1024 };
    uint64_t sum = 0;
    for (uint32_t round = 0; round < scaled(260, scale); round++) {
        uint8_t *memory =
            mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(memory != MAP_FAILED, "mmap");
        for (uint32_t page = 0; page < PAGES; page++) {
            memory[page * PAGE] = (uint8_t)(page + round);
            sum += memory[page * PAGE + 1];
        }
        sum = fold(sum, memory[round % PAGES * PAGE]);
        munmap(memory, PAGES * PAGE);
    }
    return sum;
}

/* Copy on write: a child writes to every page that it shares with its parent. */
static uint64_t copy_on_write(unsigned scale)
{
    enum { PAGES = 1024 };
    uint8_t *memory =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t sum = 0;
    must(memory != MAP_FAILED, "mmap");
    memset(memory, 3, PAGES * PAGE);
    for (uint32_t round = 0; round < scaled(110, scale); round++) {
        int status;
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            for (uint32_t page = 0; page < PAGES; page++) {
                memory[page * PAGE] += (uint8_t)page;
            }
            _exit(memory[round * PAGE] & 127);
        }
        must(waitpid(child, &status, 0) == child, "waitpid");
        sum = fold(sum, (uint32_t)WEXITSTATUS(status));
    }
    return sum;
}

static void count_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    (*(volatile uint32_t *)info->si_value.sival_ptr)++;
}

static uint64_t signals(unsigned scale)
{
    volatile uint32_t count = 0;
    struct sigaction action = {.sa_sigaction = count_signal, .sa_flags = SA_SIGINFO};
    union sigval value = {.sival_ptr = (void *)&count};
    must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    for (uint32_t i = 0; i < scaled(160000, scale); i++) {
        must(sigqueue(getpid(), SIGUSR1, value) == 0, "sigqueue");
    }
    return count;
}

/* A write to a protected page, and a handler that lifts the protection: mprotect twice and a
 * fault in each round, as garbage collectors and debuggers do. */
static volatile uint8_t *guarded_page;

static void lift_protection(int number)
{
    (void)number;
    must(mprotect((void *)guarded_page, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
}

static uint64_t protection_faults(unsigned scale)
{
    struct sigaction action = {.sa_handler = lift_protection};
    guarded_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(guarded_page != MAP_FAILED, "mmap");
    must(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    for (uint32_t i = 0; i < scaled(90000, scale); i++) {
        must(mprotect((void *)guarded_page, PAGE, PROT_READ) == 0, "mprotect");
        guarded_page[i % PAGE]++;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PAGE; i++) {
        sum = fold(sum, guarded_page[i]);
    }
    return sum;
}

static int open_scratch_file(void)
{
    int fd = open("/dev/shm/bench-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, "/dev/shm/bench-file");
    return fd;
}

static uint64_t file_io(unsigned scale)
{
    enum { BLOCK = 4096, BLOCKS = 2048 };
    uint8_t block[BLOCK];
    uint64_t sum = 0;
    int fd = open_scratch_file();
    memset(block, 7, sizeof(block));
    for (uint32_t round = 0; round < scaled(110, scale); round++) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            block[0] = (uint8_t)(i + round);
            must(pwrite(fd, block, BLOCK, (off_t)i * BLOCK) == BLOCK, "pwrite");
        }
        for (uint32_t i = 0; i < BLOCKS; i += 2) {
            must(pread(fd, block, BLOCK, (off_t)i * BLOCK) == BLOCK, "pread");
            sum += block[0];
        }
    }
    close(fd);
    unlink("/dev/shm/bench-file");
    return sum;
}

/* Names rather than contents: create, stat, rename, list, remove. */
static uint64_t file_names(unsigned scale)
{
    char name[64];
    char renamed[64];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < scaled(45000, scale); i++) {
        snprintf(name, sizeof(name), "/dev/shm/bench-%u", i % 97);
        snprintf(renamed, sizeof(renamed), "/dev/shm/bench-%u.new", i % 97);
        int fd = open(name, O_RDWR | O_CREAT, 0600);
        must(fd >= 0 && write(fd, name, 20) == 20, name);
        close(fd);
        must(rename(name, renamed) == 0, "rename");
        sum += access(renamed, R_OK) == 0;
        must(unlink(renamed) == 0, "unlink");
    }
    return sum;
}

/* Processes of equal rank that do nothing but give way to each other. */
static uint64_t yielding(unsigned scale)
{
    enum { CHILDREN = 4 };
    uint32_t rounds = scaled(70000, scale);
    pid_t children[CHILDREN];
    uint64_t sum = 0;
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    for (int c = 0; c < CHILDREN; c++) {
        children[c] = fork();
        must(children[c] >= 0, "fork");
        if (children[c] == 0) {
            sched_setaffinity(0, sizeof(first), &first);
            for (uint32_t i = 0; i < rounds; i++) {
                sched_yield();
            }
            _exit(c);
        }
    }
    for (int c = 0; c < CHILDREN; c++) {
        int status;
        must(waitpid(children[c], &status, 0) == children[c], "waitpid");
        sum += (uint32_t)WEXITSTATUS(status);
    }
    return sum;
}

const struct workload os_workloads[] = {
    {"os-getppid", getppid_loop},
    {"os-fork", fork_wait},
    {"os-exec", fork_exec},
    {"os-pingpong", pipe_ping_pong},
    {"os-pipe", pipe_bulk},
    {"os-pagefault", page_faults},
    {"os-cow", copy_on_write},
    {"os-signal", signals},
    {"os-mprotect", protection_faults},
    {"os-file", file_io},
    {"os-names", file_names},
    {"os-yield", yielding},
    {NULL, NULL},
};
