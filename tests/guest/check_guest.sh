#!/bin/sh
# SPDX-License-Identifier: MIT
# check_guest.sh RUNNER IMAGE: good when the guest says so (exit port 0, status 1).
"$@"
status=$?
[ "$status" -eq 1 ] || { echo "guest ended with status $status"; exit 1; }
