/* SPDX-License-Identifier: MIT
 *
 * User-mode network: the guest sits behind a NAT router that lives in this process, with DHCP, DNS
 * and TFTP. The names of the options and their defaults are QEMU's (-netdev user).
 */
#ifndef ANELLO_NET_SLIRP_H
#define ANELLO_NET_SLIRP_H

#include <netinet/in.h>

#include "base/loop.h"
#include "net/netdev.h"

#define SLIRP_FORWARDS 32

/* A port of the host that leads into the guest. */
struct slirp_forward {
    bool udp;
    struct in_addr host, guest; /* guest 0.0.0.0: the first DHCP address */
    u16 host_port, guest_port;
};

struct slirp_config {
    bool restricted; /* the guest reaches only the router */
    bool no_ipv4, no_ipv6;
    struct in_addr network, mask, router, dhcp_start, dns;
    char *hostname, *domain;
    char *tftp, *bootfile, *tftp_server;
    struct slirp_forward forwards[SLIRP_FORWARDS];
    unsigned forward_count;
};

/* QEMU's defaults: 10.0.2.0/24, router .2, DNS .3, DHCP from .15. */
void slirp_config_init(struct slirp_config *c);
void slirp_config_free(struct slirp_config *c);
/* Sets one option, by QEMU's name; false with the reason in error[n]. */
bool slirp_config_set(struct slirp_config *c, const char *key, const char *value, char *error,
                      size_t n);
/* After the last option: addresses that follow from the network, and whether all fit it. */
bool slirp_config_finish(struct slirp_config *c, char *error, size_t n);

/* Board lock held. NULL with a line for the user in error[n]. The config is not kept. */
struct netdev *slirp_create(const struct slirp_config *config, struct loop *loop,
                            struct clock *clock, char *error, size_t n);

#endif
