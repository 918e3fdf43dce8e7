/* SPDX-License-Identifier: MIT
 *
 * A hostile guest at the user-mode network: frames of any kind, in chunks of the input that begin
 * with their length. The network is restricted, so that nothing leaves this machine.
 */
#include <stdlib.h>

#include "net/slirp.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static bool always(void *opaque)
{
    (void)opaque;
    return true;
}

static void receive(void *opaque, const u8 *frame, size_t n)
{
    u8 *sum = opaque;
    for (size_t i = 0; i < n; i++)
        *sum = (u8)(*sum + frame[i]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u8 addressed[ETHERNET_HEADER] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
                                                  0,    0,    0,    0,    1,    8,    0};
    char error[256];
    u8 frame[ETHERNET_HEADER + 256], sum = 0;
    struct slirp_config config;
    struct netdev_card card = {always, receive, &sum};
    struct clock *clock = clock_create();
    struct loop *loop = loop_create(clock);
    slirp_config_init(&config);
    config.restricted = true;
    if (!slirp_config_finish(&config, error, sizeof error))
        abort();
    struct netdev *n = slirp_create(&config, loop, clock, error, sizeof error);
    netdev_attach(n, &card);
    while (size > 1) {
        size_t bytes = data[0] < size - 1 ? data[0] : size - 1;
        memcpy(frame, addressed, sizeof addressed);
        memcpy(frame + ETHERNET_HEADER, data + 1, bytes);
        if (bytes % 2)
            netdev_send(n, data + 1, bytes); /* all of it as it comes */
        else
            netdev_send(n, frame, ETHERNET_HEADER + bytes);
        data += 1 + bytes;
        size -= 1 + bytes;
    }
    netdev_destroy(n);
    slirp_config_free(&config);
    loop_destroy(loop);
    clock_destroy(clock);
    return 0;
}
