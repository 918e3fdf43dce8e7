/* SPDX-License-Identifier: MIT
 *
 * Looking before sleeping; see spin.h.
 */
#include "base/spin.h"

#include <sched.h>
#include <time.h>

#include "base/clock.h"

#define FIRST_WINDOW    10000 /* ns */
#define LOOKS_AT_A_TIME 8     /* between two readings of the clock */

static bool is_alone(void)
{
    cpu_set_t cpus;
    return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) < 2;
}

void spin_init(struct spin *s, i64 most)
{
    *s = (struct spin){.most = is_alone() ? 0 : most};
}

i64 spin_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SEC + now.tv_nsec;
}

bool spin_while(const struct spin *s, const u32 *word, u32 value)
{
    if (!s->window)
        return false;
    i64 end = spin_now() + s->window;
    do {
        for (int i = 0; i < LOOKS_AT_A_TIME; i++) {
            if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
                return true;
            __builtin_ia32_pause();
        }
    } while (spin_now() < end);
    return false;
}

void spin_learn(struct spin *s, i64 waited)
{
    if (waited > s->most)
        s->window = s->window > FIRST_WINDOW ? s->window / 2 : 0;
    else if (waited > s->window)
        s->window = s->window ? 2 * s->window : FIRST_WINDOW;
    if (s->window > s->most)
        s->window = s->most;
}
