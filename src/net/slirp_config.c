/* SPDX-License-Identifier: MIT
 *
 * The options of -netdev user: texts into addresses.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/slirp.h"

#define HOST_ROUTER 2
#define HOST_DNS    3
#define HOST_DHCP   15
#define PREFIX_MIN  8
#define PREFIX_MAX  28 /* DHCP_START must still fit */

static bool refuse(char *error, size_t n, const char *what, const char *value)
{
    snprintf(error, n, "%s, not '%s'", what, value);
    return false;
}

static struct in_addr address(u32 host_order)
{
    return (struct in_addr){.s_addr = htonl(host_order)};
}

static u32 number(struct in_addr a)
{
    return ntohl(a.s_addr);
}

void slirp_config_init(struct slirp_config *c)
{
    *c = (struct slirp_config){.network = address(0x0a000200), .mask = address(0xffffff00)};
}

void slirp_config_free(struct slirp_config *c)
{
    free(c->hostname);
    free(c->domain);
    free(c->tftp);
    free(c->bootfile);
    free(c->tftp_server);
    *c = (struct slirp_config){0};
}

static bool parse_address(const char *text, struct in_addr *a)
{
    return inet_pton(AF_INET, text, a) == 1;
}

static bool parse_port(const char *text, unsigned min, u16 *port)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end || v < min || v > UINT16_MAX || *text == '-' || *text == '+')
        return false;
    *port = (u16)v;
    return true;
}

/* ADDRESS[/PREFIX or /MASK] */
static bool set_network(struct slirp_config *c, const char *value, char *error, size_t n)
{
    char text[64];
    snprintf(text, sizeof text, "%s", value);
    char *slash = strchr(text, '/'), *end;
    struct in_addr mask = address(0xffffff00);
    if (slash) {
        *slash++ = '\0';
        unsigned long prefix = strtoul(slash, &end, 10);
        if (!*end && prefix >= PREFIX_MIN && prefix <= PREFIX_MAX)
            mask = address((u32)~mask64(32 - (unsigned)prefix));
        else if (!parse_address(slash, &mask))
            return refuse(error, n, "net= needs a network such as 10.0.2.0/24", value);
    }
    struct in_addr network;
    u32 hosts = ~number(mask);
    if (!parse_address(text, &network) || (hosts & (hosts + 1)) || hosts < HOST_DHCP)
        return refuse(error, n, "net= needs a network such as 10.0.2.0/24", value);
    c->mask = mask;
    c->network.s_addr = network.s_addr & mask.s_addr;
    return true;
}

/* "[ADDRESS]:PORT" in text; an empty address leaves *a as it is. */
static bool parse_endpoint(char *text, unsigned min_port, struct in_addr *a, u16 *port)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        return false;
    *colon = '\0';
    return (!*text || parse_address(text, a)) && parse_port(colon + 1, min_port, port);
}

/* [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT */
static bool set_forward(struct slirp_config *c, const char *value, char *error, size_t n)
{
    static const char form[] =
        "hostfwd= has the form tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT";
    char text[128];
    struct slirp_forward f = {.host = {.s_addr = htonl(INADDR_ANY)}};
    if (c->forward_count == SLIRP_FORWARDS)
        return refuse(error, n, "at most 32 ports can be forwarded", value);
    if (strlen(value) >= sizeof text)
        return refuse(error, n, form, value);
    strcpy(text, value);
    char *colon = strchr(text, ':'), *dash = strchr(text, '-');
    if (!colon || !dash || dash < colon)
        return refuse(error, n, form, value);
    *colon = *dash = '\0';
    f.udp = !strcmp(text, "udp");
    if ((!f.udp && *text && strcmp(text, "tcp")) ||
        !parse_endpoint(colon + 1, 0, &f.host, &f.host_port) ||
        !parse_endpoint(dash + 1, 1, &f.guest, &f.guest_port))
        return refuse(error, n, form, value);
    c->forwards[c->forward_count++] = f;
    return true;
}

static bool set_text(char **field, const char *value)
{
    free(*field);
    *field = strdup(value);
    return *field != NULL;
}

static bool is_on(const char *v)
{
    return !strcmp(v, "on") || !strcmp(v, "yes") || !strcmp(v, "true") || !strcmp(v, "y");
}

bool slirp_config_set(struct slirp_config *c, const char *key, const char *value, char *error,
                      size_t n)
{
    const struct {
        const char *key;
        struct in_addr *field;
    } addresses[] = {{"host", &c->router}, {"dhcpstart", &c->dhcp_start}, {"dns", &c->dns}};
    const struct {
        const char *key;
        char **field;
    } texts[] = {{"hostname", &c->hostname},
                 {"domainname", &c->domain},
                 {"tftp", &c->tftp},
                 {"bootfile", &c->bootfile},
                 {"tftp-server-name", &c->tftp_server}};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        if (!strcmp(key, addresses[i].key))
            return parse_address(value, addresses[i].field) ||
                   refuse(error, n, "an IPv4 address is needed", value);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!strcmp(key, texts[i].key))
            return set_text(texts[i].field, value);
    }
    if (!strcmp(key, "net"))
        return set_network(c, value, error, n);
    if (!strcmp(key, "hostfwd"))
        return set_forward(c, value, error, n);
    if (!strcmp(key, "restrict") || !strcmp(key, "restricted"))
        c->restricted = is_on(value);
    else if (!strcmp(key, "ipv4"))
        c->no_ipv4 = !is_on(value);
    else if (!strcmp(key, "ipv6"))
        c->no_ipv6 = !is_on(value);
    else
        return refuse(error, n,
                      "user networks have net, host, dns, dhcpstart, hostname, domainname, tftp, "
                      "bootfile, tftp-server-name, hostfwd, restrict, ipv4 and ipv6",
                      key);
    return true;
}

/* Unset: the network's own n-th address. Set: must lie in it. */
static bool settle(const struct slirp_config *c, struct in_addr *a, u32 nth)
{
    if (!a->s_addr)
        a->s_addr = c->network.s_addr | htonl(nth);
    return (a->s_addr & c->mask.s_addr) == c->network.s_addr && (a->s_addr & ~c->mask.s_addr);
}

bool slirp_config_finish(struct slirp_config *c, char *error, size_t n)
{
    bool ok = settle(c, &c->router, HOST_ROUTER) && settle(c, &c->dns, HOST_DNS) &&
              settle(c, &c->dhcp_start, HOST_DHCP);
    if (!ok)
        snprintf(error, n, "host=, dns= and dhcpstart= must be addresses of the network net=");
    else if (c->router.s_addr == c->dns.s_addr)
        snprintf(error, n, "host= and dns= must be different addresses"), ok = false;
    else if (c->no_ipv4 && c->no_ipv6)
        snprintf(error, n, "a network needs ipv4 or ipv6"), ok = false;
    return ok;
}
