#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# What busybox' DHCP client calls in the guest: takes the lease and says what it is.
[ "$1" = bound ] || exit 0
ip address add "$ip/${mask:-24}" dev "$interface"
ip route add default via "$router"
echo "address $ip router $router dns $dns"
