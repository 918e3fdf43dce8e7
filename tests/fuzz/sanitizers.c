/* SPDX-License-Identifier: MIT
 *
 * What all targets ask of AddressSanitizer. Freed memory is kept until 8 MiB more have been freed,
 * many times what an input frees, rather than 256 MiB: each new block would otherwise be memory
 * that the host's cache has long forgotten.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8:malloc_context_size=12:allocator_release_to_os_interval_ms=-1";
}
