/* SPDX-License-Identifier: MIT */
#ifndef ANELLO_MACHINE_FIRMWARE_H
#define ANELLO_MACHINE_FIRMWARE_H

#include "base/bits.h"

/* Reads a whole file of 1..max bytes into malloc'ed memory. NULL with one line for the user in
 * error[n] when it is absent, empty, too large or no regular file. */
u8 *firmware_read_file(const char *path, size_t max, size_t *size, char *error, size_t n);

#endif
