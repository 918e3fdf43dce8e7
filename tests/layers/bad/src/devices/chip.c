/* SPDX-License-Identifier: MIT
 *
 * A device that breaks every rule of the include direction; tests/layers proves that each is seen.
 */
// clang-format off
#include "bus/device.h"
#include "cpu/vcpu.h"
#include "storage/block.h"
#include "storage/qcow2.h"
#include "local.h"
#include <SDL2/SDL.h>
