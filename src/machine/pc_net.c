/* SPDX-License-Identifier: MIT
 *
 * Network cards and the networks at the other end of their cables. A card whose option ROM is on
 * the host (Debian's ipxe-qemu) can be booted from; without it the card works all the same.
 */
#include <stdlib.h>

#include "devices/e1000.h"
#include "devices/virtio_net.h"
#include "machine/internal.h"
#include "net/slirp.h"

static bool build_netdevs(struct machine *m, char *error, size_t n)
{
    for (unsigned i = 0; i < m->config->netdev_count; i++) {
        const struct netdev_config *c = &m->config->netdevs[i];
        m->netdevs[i] = slirp_create(&c->user, m->loop, m->clock, error, n);
        if (!m->netdevs[i])
            return false;
    }
    return true;
}

/* Finds the network of a card; each has one card. */
static bool find_netdev(struct machine *m, unsigned nic, struct netdev **found, char *error,
                        size_t n)
{
    const struct machine_config *c = m->config;
    const char *id = c->nics[nic].netdev;
    *found = NULL;
    if (!id)
        return true;
    for (unsigned i = 0; i < nic; i++) {
        if (c->nics[i].netdev && !strcmp(c->nics[i].netdev, id)) {
            snprintf(error, n, "network '%s' has two cards: give each its own -netdev", id);
            return false;
        }
    }
    for (unsigned i = 0; i < c->netdev_count; i++) {
        if (!strcmp(c->netdevs[i].id, id))
            *found = m->netdevs[i];
    }
    if (!*found)
        snprintf(error, n, "there is no network '%s': add -netdev user,id=%s", id, id);
    return *found != NULL;
}

static bool create_e1000(const struct nic_board *board, struct device *made)
{
    struct e1000 *card = e1000_create(board);
    if (card)
        *made = e1000_device(card);
    return card != NULL;
}

static bool create_virtio(const struct nic_board *board, struct device *made)
{
    struct virtio_net *card = virtio_net_create(board);
    if (card)
        *made = virtio_net_device(card);
    return card != NULL;
}

static const struct {
    const char *rom; /* of iPXE */
    bool (*create)(const struct nic_board *board, struct device *made);
} models[] = {
    [NIC_E1000] = {"pxe-e1000.rom", create_e1000},
    [NIC_VIRTIO] = {"pxe-virtio.rom", create_virtio},
};

static bool build_card(struct machine *m, const struct nic_config *nic, struct netdev *netdev,
                       char *error, size_t n)
{
    u8 *rom;
    size_t rom_bytes;
    struct device card;
    if (!firmware_option_rom(nic->rom, models[nic->model].rom, &rom, &rom_bytes, error, n))
        return false;
    struct nic_board board = {.bus = m->pci,
                              .devfn = PCI_DEVFN(m->next_slot++, 0),
                              .clock = m->clock,
                              .log = m->log,
                              .netdev = netdev,
                              .rom = rom,
                              .rom_bytes = (u32)rom_bytes};
    memcpy(board.mac, nic->mac, sizeof board.mac);
    bool ok = models[nic->model].create(&board, &card);
    free(rom);
    if (ok)
        machine_add_device(m, card);
    else
        snprintf(error, n, "cannot create a network card");
    return ok;
}

bool pc_build_network(struct machine *m, char *error, size_t n)
{
    if (!build_netdevs(m, error, n))
        return false;
    for (unsigned i = 0; i < m->config->nic_count; i++) {
        struct netdev *netdev;
        if (!find_netdev(m, i, &netdev, error, n) ||
            !build_card(m, &m->config->nics[i], netdev, error, n))
            return false;
    }
    return true;
}
