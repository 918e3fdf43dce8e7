/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

#define MAX_ONCE    256
#define MAX_DEVICES 16

struct once {
    const char *key;
    u64 number;
};

struct log {
    FILE *out;
    pthread_mutex_t lock;
    u32 mask;
    char *list; /* owned copy of the -d list; device names point into it */
    const char *devices[MAX_DEVICES];
    unsigned device_count;
    struct once once[MAX_ONCE];
    unsigned once_count;
};

static const struct {
    const char *name;
    u32 mask;
} class_names[] = {
    {"in_asm", LOG_IN_ASM},
    {"out_asm", LOG_OUT_ASM},
    {"exec", LOG_EXEC},
    {"int", LOG_INT},
    {"mmu", LOG_MMU},
    {"cpu_reset", LOG_CPU_RESET},
    {"guest_errors", LOG_GUEST_ERRORS},
};

struct log *log_create(FILE *out)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->out = out;
    pthread_mutex_init(&log->lock, NULL);
    return log;
}

void log_destroy(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_destroy(&log->lock);
    free(log->list);
    free(log);
}

static bool enable_word(struct log *log, const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(class_names); i++) {
        if (!strcmp(word, class_names[i].name)) {
            log->mask |= class_names[i].mask;
            return true;
        }
    }
    if (!strncmp(word, "dev:", 4) && word[4] && log->device_count < MAX_DEVICES) {
        log->mask |= LOG_DEV;
        log->devices[log->device_count++] = word + 4;
        return true;
    }
    return false;
}

const char *log_enable(struct log *log, const char *list)
{
    free(log->list);
    log->device_count = 0;
    log->list = strdup(list);
    char *save = NULL;
    for (char *w = strtok_r(log->list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (!enable_word(log, w))
            return w;
    }
    return NULL;
}

u32 log_mask(const struct log *log)
{
    return log->mask;
}

bool log_device_on(const struct log *log, const char *device)
{
    if (!log_on(log, LOG_DEV))
        return false;
    for (unsigned i = 0; i < log->device_count; i++) {
        if (!strcmp(log->devices[i], device) || !strcmp(log->devices[i], "all"))
            return true;
    }
    return false;
}

void log_printf(struct log *log, const char *fmt, ...)
{
    if (!log)
        return;
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&log->lock);
    vfprintf(log->out, fmt, ap);
    pthread_mutex_unlock(&log->lock);
    va_end(ap);
}

/* True the first time that (key, number) is seen; when the table is full nothing new is said. */
static bool first_time(struct log *log, const char *key, u64 number)
{
    for (unsigned i = 0; i < log->once_count; i++) {
        if (log->once[i].number == number && !strcmp(log->once[i].key, key))
            return false;
    }
    if (log->once_count == MAX_ONCE)
        return false;
    log->once[log->once_count++] = (struct once){key, number};
    return true;
}

void log_unsupported(struct log *log, const char *key, u64 number, const char *fmt, ...)
{
    if (!log)
        return;
    va_list ap;
    va_start(ap, fmt);
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&log->lock);
    if (first_time(log, key, number))
        fprintf(stderr, "anello: warning: guest: %s: %s\n", key, text);
    if (log_on(log, LOG_GUEST_ERRORS))
        fprintf(log->out, "guest error: %s: %s\n", key, text);
    pthread_mutex_unlock(&log->lock);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("anello: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}
