/* SPDX-License-Identifier: MIT
 *
 * The queue towards the card, and the rule that a card is not entered twice: `busy` counts the
 * calls in progress, and frames that come meanwhile wait until the outermost one ends.
 */
#include "net/netdev.h"

#include <stdlib.h>

struct waiting {
    struct waiting *next;
    size_t bytes;
    u8 frame[];
};

struct netdev {
    const struct netdev_ops *ops;
    void *opaque;
    struct netdev_card card;
    struct netdev_counters counters;
    struct waiting *first, **end;
    unsigned count;
    unsigned busy;
};

struct netdev *netdev_create(const struct netdev_ops *ops, void *opaque)
{
    struct netdev *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->ops = ops;
    n->opaque = opaque;
    n->end = &n->first;
    return n;
}

void netdev_destroy(struct netdev *n)
{
    if (!n)
        return;
    netdev_attach(n, NULL);
    if (n->ops->destroy)
        n->ops->destroy(n->opaque);
    netdev_forget(n);
    free(n);
}

const char *netdev_kind(const struct netdev *n)
{
    return n->ops->kind;
}

struct netdev_counters netdev_counters(const struct netdev *n)
{
    return n->counters;
}

static struct waiting *take(struct netdev *n)
{
    struct waiting *w = n->first;
    if (!w)
        return NULL;
    n->first = w->next;
    if (!n->first)
        n->end = &n->first;
    n->count--;
    return w;
}

/* Hands waiting frames to the card for as long as it takes them. */
static void flush(struct netdev *n)
{
    if (n->busy)
        return;
    n->busy++;
    while (n->first && n->card.receive && n->card.can_receive(n->card.opaque)) {
        struct waiting *w = take(n);
        n->counters.rx++;
        n->card.receive(n->card.opaque, w->frame, w->bytes);
        free(w);
    }
    n->busy--;
}

void netdev_attach(struct netdev *n, const struct netdev_card *card)
{
    if (!n)
        return;
    n->card = card ? *card : (struct netdev_card){0};
}

void netdev_send(struct netdev *n, const u8 *frame, size_t bytes)
{
    if (!n || bytes < ETHERNET_HEADER || bytes > NETDEV_FRAME_MAX)
        return;
    n->counters.tx++;
    n->busy++;
    n->ops->send(n->opaque, frame, bytes);
    n->busy--;
    flush(n);
}

void netdev_ready(struct netdev *n)
{
    if (n)
        flush(n);
}

void netdev_forget(struct netdev *n)
{
    struct waiting *w;
    while (n && (w = take(n)))
        free(w);
}

void netdev_deliver(struct netdev *n, const u8 *frame, size_t bytes)
{
    if (!n->card.receive)
        return;
    struct waiting *w = NULL;
    if (n->count < NETDEV_QUEUE_MAX && bytes >= ETHERNET_HEADER && bytes <= NETDEV_FRAME_MAX)
        w = malloc(sizeof *w + bytes);
    if (!w) {
        n->counters.dropped++;
        return;
    }
    *w = (struct waiting){.bytes = bytes};
    memcpy(w->frame, frame, bytes);
    *n->end = w;
    n->end = &w->next;
    n->count++;
    flush(n);
}
