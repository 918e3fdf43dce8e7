/* SPDX-License-Identifier: MIT
 *
 * Networks and cards on the command line, in QEMU's three ways:
 *
 *   -netdev user,id=n0,hostfwd=… -device e1000,netdev=n0,mac=…
 *   -nic user,model=e1000,mac=…,hostfwd=…
 *   -net nic,model=e1000,macaddr=… -net user,hostfwd=…
 *
 * All end as one entry of the config's netdevs and one of its nics, joined by an id. The second and
 * third way make up ids that a user cannot write.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/option.h"

#define NET_ID "#net"
#define NIC_ID "#nic%u"

static const u8 first_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

static const struct {
    const char *name;
    enum nic_model model;
} models[] = {{"e1000", NIC_E1000},
              {"e1000-82540em", NIC_E1000},
              {"virtio-net-pci", NIC_VIRTIO},
              {"virtio", NIC_VIRTIO},
              {"virtio-net", NIC_VIRTIO}};

static bool find_model(const char *name, enum nic_model *model)
{
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        if (!strcmp(models[i].name, name)) {
            *model = models[i].model;
            return true;
        }
    }
    return false;
}

static bool parse_mac(const char *text, u8 *mac)
{
    unsigned b[6];
    int end = 0;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) !=
            6 ||
        text[end] || (b[0] & 1))
        return false;
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (u8)b[i];
    return true;
}

static struct nic_config *add_nic(struct ctx *ctx)
{
    struct machine_config *c = ctx->config;
    if (c->nic_count == MAX_NICS) {
        option_refuse(ctx, "at most %d network cards", MAX_NICS);
        return NULL;
    }
    struct nic_config *nic = &c->nics[c->nic_count];
    memcpy(nic->mac, first_mac, sizeof nic->mac);
    nic->mac[5] = (u8)(nic->mac[5] + c->nic_count++);
    return nic;
}

static struct netdev_config *add_netdev(struct ctx *ctx, const char *id)
{
    struct machine_config *c = ctx->config;
    if (c->netdev_count == MAX_NICS) {
        option_refuse(ctx, "at most %d networks", MAX_NICS);
        return NULL;
    }
    for (unsigned i = 0; id && i < c->netdev_count; i++) {
        if (!strcmp(c->netdevs[i].id, id)) {
            option_refuse(ctx, "there are two networks '%s'", id);
            return NULL;
        }
    }
    struct netdev_config *n = &c->netdevs[c->netdev_count++];
    slirp_config_init(&n->user);
    config_set(&n->id, id);
    return n;
}

/* A property of the network; a folder of a configuration file is relative to it. */
static bool network_property(struct ctx *ctx, struct netdev_config *n, const char *key,
                             const char *value)
{
    if (!strcmp(key, "tftp") && value) {
        option_set_path(ctx, &n->user.tftp, value);
        return true;
    }
    return slirp_config_set(&n->user, key, value ? value : "on", ctx->error, ctx->n);
}

/* A property of the card; *known says whether it is one. */
static bool card_property(struct ctx *ctx, struct nic_config *nic, const char *key,
                          const char *value, bool *known)
{
    *known = true;
    if ((!strcmp(key, "mac") || !strcmp(key, "macaddr")) && value)
        return parse_mac(value, nic->mac) ||
               option_refuse(ctx, "'%s' is not the address of a card: 52:54:00:12:34:56 is one",
                             value);
    if (!strcmp(key, "romfile")) {
        if (value && *value)
            option_set_path(ctx, &nic->rom, value);
        else
            config_set(&nic->rom, "");
    } else if (!strcmp(key, "model") && value) {
        return find_model(value, &nic->model) ||
               option_refuse(
                   ctx, "network card '%s' is not available: e1000 and virtio-net-pci are", value);
    } else {
        *known = false;
    }
    return true;
}

static bool kind_is_user(struct ctx *ctx, const char *kind)
{
    return !strcmp(kind, "user") ||
           option_refuse(ctx, "networks of kind '%s' are not available: user is", kind);
}

static bool netdev_properties(struct ctx *ctx, struct netdev_config *n, char *cursor)
{
    char *key, *value;
    while (option_next_pair(&cursor, &key, &value)) {
        if (!strcmp(key, "id") && value)
            config_set(&n->id, value);
        else if (!network_property(ctx, n, key, value))
            return false;
    }
    if (!n->id)
        return option_refuse(ctx, "-netdev needs id=NAME, for -device e1000,netdev=NAME");
    for (struct netdev_config *o = ctx->config->netdevs; o < n; o++) {
        if (!strcmp(o->id, n->id))
            return option_refuse(ctx, "there are two networks '%s'", n->id);
    }
    return slirp_config_finish(&n->user, ctx->error, ctx->n);
}

bool option_netdev(struct ctx *ctx, const char *v)
{
    char *copy = strdup(v), *cursor = copy, *key, *value;
    struct netdev_config *n = NULL;
    bool ok = option_next_pair(&cursor, &key, &value) && !value;
    if (!ok)
        option_refuse(ctx, "-netdev begins with the kind of network: user");
    ok = ok && kind_is_user(ctx, key) && (n = add_netdev(ctx, NULL)) != NULL &&
         netdev_properties(ctx, n, cursor);
    free(copy);
    return ok;
}

bool option_is_card(const char *model)
{
    enum nic_model found;
    return find_model(model, &found);
}

bool option_card(struct ctx *ctx, const char *model, char *cursor)
{
    char *key, *value;
    bool known;
    struct nic_config *nic = add_nic(ctx);
    if (!nic)
        return false;
    find_model(model, &nic->model);
    while (option_next_pair(&cursor, &key, &value)) {
        if (!strcmp(key, "netdev") && value) {
            config_set(&nic->netdev, value);
            continue;
        }
        if (!strcmp(key, "id"))
            continue;
        if (!card_property(ctx, nic, key, value, &known))
            return false;
        if (!known || !strcmp(key, "model"))
            return option_refuse(ctx, "%s has no property '%s': netdev, mac and romfile are known",
                                 model, key);
    }
    return true;
}

/* Both halves at once. */
static bool nic_properties(struct ctx *ctx, char *cursor)
{
    char *key, *value, id[16];
    struct nic_config *nic = add_nic(ctx);
    if (!nic)
        return false;
    snprintf(id, sizeof id, NIC_ID, ctx->config->nic_count);
    struct netdev_config *n = add_netdev(ctx, id);
    if (!n)
        return false;
    config_set(&nic->netdev, id);
    while (option_next_pair(&cursor, &key, &value)) {
        bool known;
        if (!strcmp(key, "id"))
            continue;
        if (!card_property(ctx, nic, key, value, &known) ||
            (!known && !network_property(ctx, n, key, value)))
            return false;
    }
    return slirp_config_finish(&n->user, ctx->error, ctx->n);
}

bool option_nic(struct ctx *ctx, const char *v)
{
    if (!strcmp(v, "none"))
        return true;
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = option_next_pair(&cursor, &key, &value) && !value;
    if (!ok)
        option_refuse(ctx, "-nic begins with the kind of network: user or none");
    ok = ok && kind_is_user(ctx, key) && nic_properties(ctx, cursor);
    free(copy);
    return ok;
}

static bool net_nic(struct ctx *ctx, char *cursor)
{
    char *key, *value;
    struct nic_config *nic = add_nic(ctx);
    if (!nic)
        return false;
    config_set(&nic->netdev, NET_ID);
    while (option_next_pair(&cursor, &key, &value)) {
        bool known;
        if (!card_property(ctx, nic, key, value, &known))
            return false;
        if (!known)
            return option_refuse(ctx, "-net nic has no property '%s'", key);
    }
    return true;
}

static bool net_user(struct ctx *ctx, char *cursor)
{
    char *key, *value;
    struct netdev_config *n = add_netdev(ctx, NET_ID);
    while (n && option_next_pair(&cursor, &key, &value)) {
        if (!network_property(ctx, n, key, value))
            return false;
    }
    return n && slirp_config_finish(&n->user, ctx->error, ctx->n);
}

bool option_net(struct ctx *ctx, const char *v)
{
    if (!strcmp(v, "none"))
        return true;
    char *copy = strdup(v), *cursor = copy, *key, *value;
    bool ok = option_next_pair(&cursor, &key, &value) && !value;
    if (!ok)
        option_refuse(ctx, "-net begins with nic, user or none");
    else if (!strcmp(key, "nic"))
        ok = net_nic(ctx, cursor);
    else
        ok = kind_is_user(ctx, key) && net_user(ctx, cursor);
    free(copy);
    return ok;
}
