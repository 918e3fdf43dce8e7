/* SPDX-License-Identifier: MIT
 *
 * Pictures as files: PNG (ISO 15948, 8-bit RGB) and PPM (P6).
 */
#ifndef ANELLO_UI_IMAGE_H
#define ANELLO_UI_IMAGE_H

#include <stdio.h>

#include "ui/display.h"

/* False with errno set when out of memory or the stream fails. */
bool image_write_png(const struct surface *s, FILE *out);
bool image_write_ppm(const struct surface *s, FILE *out);

#endif
