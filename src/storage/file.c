/* SPDX-License-Identifier: MIT
 *
 * Files and block devices of the host by pread and pwrite.
 *
 * Direct files (cache=none) have two descriptors: an O_DIRECT one for the aligned middle of a
 * request, through an aligned buffer where the caller's is not, and an ordinary one for odd heads
 * and tails, so that no read-modify-write of ours can lose somebody else's bytes. Linux keeps the
 * two coherent.
 *
 * Locks are open-file-description locks on single bytes, laid out as QEMU lays them out, so that
 * neither program opens for writing what the other is using: a user of permission p holds byte
 * 100 + p, and who cannot bear others to have p holds byte 200 + p.
 */
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define DIRECT_ALIGN  4096u
#define BOUNCE_BYTES  MIB(1)
#define ZERO_BYTES    KIB(64)
#define GATHER_BYTES  KIB(64)
#define TRANSFER_MAX  GIB(1)   /* of one system call */
#define EARLY_LEAST   KIB(64)  /* less is not worth a further system call */
#define EARLY_PIECE   KIB(256) /* on its way to the disk while the next one is copied */
#define EARLY_MOST    MIB(8)   /* between two flushes of a user who flushes often */
#define STAT_BLOCK    512u
#define NO_DESCRIPTOR (-1)

struct host_file {
    struct file file; /* first */
    int fd;
    int direct_fd; /* O_DIRECT, or NO_DESCRIPTOR */
    bool unsafe;
    bool lost;   /* a flush failed once: what the host has dropped will not come back */
    bool device; /* a block device: it cannot change its size */
    u64 written; /* bytes since the last flush, about; atomic */
    bool early;  /* flushes come soon after writes; atomic */
};

static struct host_file *host(struct file *f)
{
    return (struct host_file *)f;
}

/* ---- reading and writing ---- */

static size_t transfer(u64 bytes)
{
    return bytes < TRANSFER_MAX ? bytes : TRANSFER_MAX;
}

static int read_all(int fd, u64 offset, u8 *to, u64 bytes)
{
    while (bytes) {
        ssize_t got = pread(fd, to, transfer(bytes), (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0) { /* beyond the end */
            memset(to, 0, bytes);
            return 0;
        }
        to += got, offset += (u64)got, bytes -= (u64)got;
    }
    return 0;
}

/* What a write that has returned `put` says: 0, or -errno; -EINTR: again. */
static int write_error(ssize_t put)
{
    if (put < 0)
        return -errno;
    return put ? 0 : -ENOSPC; /* the end of a block device */
}

static int write_all(int fd, u64 offset, const u8 *from, u64 bytes)
{
    while (bytes) {
        ssize_t put = pwrite(fd, from, transfer(bytes), (off_t)offset);
        int error = write_error(put);
        if (error == -EINTR)
            continue;
        if (error)
            return error;
        from += put, offset += (u64)put, bytes -= (u64)put;
    }
    return 0;
}

/* ---- writing that begins before the flush ----
 *
 * A flush waits for the disk, which has had nothing to do while the data were copied into the
 * host's cache and the user made up his mind to flush. Where flushes have come soon after writes,
 * large writes are given to the disk at once, piece by piece. The kernel may do that at any time
 * anyway; what is stable is still said by the flush alone, which also hears of errors. */

/* Counts a write. Whether it is to be given to the disk early. */
static bool count_write(struct host_file *h, u64 bytes)
{
    u64 sum = __atomic_add_fetch(&h->written, bytes, __ATOMIC_RELAXED);
    return bytes >= EARLY_LEAST && sum <= EARLY_MOST &&
           __atomic_load_n(&h->early, __ATOMIC_RELAXED);
}

static void count_flush(struct host_file *h)
{
    u64 sum = __atomic_exchange_n(&h->written, 0, __ATOMIC_RELAXED);
    if (sum)
        __atomic_store_n(&h->early, sum <= EARLY_MOST, __ATOMIC_RELAXED);
}

/* Does not wait, and leaves errors to the flush. */
static void give_to_disk(const struct host_file *h, u64 offset, u64 bytes)
{
    sync_file_range(h->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
}

static int write_cached(struct host_file *h, u64 offset, const u8 *from, u64 bytes)
{
    int error = 0;
    if (!count_write(h, bytes))
        return write_all(h->fd, offset, from, bytes);
    for (u64 n; bytes && !error; from += n, offset += n, bytes -= n) {
        n = bytes < EARLY_PIECE ? bytes : EARLY_PIECE;
        error = write_all(h->fd, offset, from, n);
        give_to_disk(h, offset, n);
    }
    return error;
}

/* The three parts of a range on a direct file: before, within and after whole direct blocks. */
struct parts {
    u64 head, middle, tail;
};

static struct parts split(const struct host_file *h, u64 offset, u64 bytes)
{
    struct parts p = {.head = bytes};
    if (h->direct_fd == NO_DESCRIPTOR)
        return p;
    u64 first = align_up(offset, DIRECT_ALIGN), last = align_down(offset + bytes, DIRECT_ALIGN);
    if (first >= last)
        return p;
    return (struct parts){first - offset, last - first, offset + bytes - last};
}

static bool is_aligned(const void *p)
{
    return ((uintptr_t)p & (DIRECT_ALIGN - 1)) == 0;
}

/* An aligned transfer by way of an aligned buffer. */
static int bounce(const struct host_file *h, u64 offset, void *data, u64 bytes, bool writing)
{
    u64 piece = bytes < BOUNCE_BYTES ? bytes : BOUNCE_BYTES;
    u8 *buffer = aligned_alloc(DIRECT_ALIGN, piece);
    int error = buffer ? 0 : -ENOMEM;
    for (u64 at = 0; at < bytes && !error; at += piece) {
        if (piece > bytes - at)
            piece = bytes - at;
        if (writing) {
            memcpy(buffer, (u8 *)data + at, piece);
            error = write_all(h->direct_fd, offset + at, buffer, piece);
        } else {
            error = read_all(h->direct_fd, offset + at, buffer, piece);
            memcpy((u8 *)data + at, buffer, error ? 0 : piece);
        }
    }
    free(buffer);
    return error;
}

static int host_read(struct file *f, u64 offset, void *data, u64 bytes)
{
    const struct host_file *h = host(f);
    struct parts p = split(h, offset, bytes);
    u8 *to = data, *middle = to + p.head;
    int error = read_all(h->fd, offset, to, p.head);
    if (p.middle && !error)
        error = is_aligned(middle) ? read_all(h->direct_fd, offset + p.head, middle, p.middle)
                                   : bounce(h, offset + p.head, middle, p.middle, false);
    if (p.tail && !error)
        error = read_all(h->fd, offset + p.head + p.middle, middle + p.middle, p.tail);
    return error;
}

static int host_write(struct file *f, u64 offset, const void *data, u64 bytes)
{
    struct host_file *h = host(f);
    struct parts p = split(h, offset, bytes);
    const u8 *from = data, *middle = from + p.head;
    int error = write_cached(h, offset, from, p.head);
    if (p.middle && !error)
        error = is_aligned(middle) ? write_all(h->direct_fd, offset + p.head, middle, p.middle)
                                   : bounce(h, offset + p.head, (void *)middle, p.middle, true);
    if (p.tail && !error)
        error = write_all(h->fd, offset + p.head + p.middle, middle + p.middle, p.tail);
    return error;
}

/* By a buffer: for files that know no vectors, and for direct ones, which want aligned memory. */
static int read_scattered(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    u64 piece = bytes < GATHER_BYTES ? align_up(bytes, DIRECT_ALIGN) : GATHER_BYTES;
    u8 *buffer = aligned_alloc(DIRECT_ALIGN, piece);
    int error = buffer ? 0 : -ENOMEM;
    for (u64 n; bytes && !error; offset += n, bytes -= n, v = io_vector_after(v, n)) {
        n = bytes < piece ? bytes : piece;
        error = file_read(f, offset, buffer, n);
        if (!error)
            io_vector_scatter(v, buffer, n);
    }
    free(buffer);
    return error;
}

static int host_read_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    const struct host_file *h = host(f);
    if (h->direct_fd != NO_DESCRIPTOR)
        return read_scattered(f, offset, v, bytes);
    while (bytes) {
        struct iovec piece[IO_VECTOR_MAX];
        u64 wanted;
        unsigned count = io_vector_head(v, bytes, piece, ARRAY_LEN(piece), &wanted);
        ssize_t got = preadv(h->fd, piece, (int)count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0) /* beyond the end */
            return read_scattered(f, offset, v, bytes);
        offset += (u64)got, bytes -= (u64)got;
        v = io_vector_after(v, (u64)got);
    }
    return 0;
}

int file_read_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    struct iovec first;
    u64 got;
    io_vector_head(v, bytes, &first, 1, &got);
    if (got == bytes)
        return file_read(f, offset, first.iov_base, bytes);
    return f->ops->read_vector ? f->ops->read_vector(f, offset, v, bytes)
                               : read_scattered(f, offset, v, bytes);
}

/* By a buffer, as read_scattered(). */
static int write_gathered(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    u64 piece = bytes < GATHER_BYTES ? align_up(bytes, DIRECT_ALIGN) : GATHER_BYTES;
    u8 *buffer = aligned_alloc(DIRECT_ALIGN, piece);
    int error = buffer ? 0 : -ENOMEM;
    for (u64 n; bytes && !error; offset += n, bytes -= n, v = io_vector_after(v, n)) {
        n = bytes < piece ? bytes : piece;
        io_vector_gather(v, buffer, n);
        error = file_write(f, offset, buffer, n);
    }
    free(buffer);
    return error;
}

static int host_write_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    struct host_file *h = host(f);
    if (h->direct_fd != NO_DESCRIPTOR)
        return write_gathered(f, offset, v, bytes);
    bool early = count_write(h, bytes);
    while (bytes) {
        struct iovec piece[IO_VECTOR_MAX];
        u64 got, wanted = early && bytes > EARLY_PIECE ? EARLY_PIECE : bytes;
        unsigned count = io_vector_head(v, wanted, piece, ARRAY_LEN(piece), &got);
        ssize_t put = pwritev(h->fd, piece, (int)count, (off_t)offset);
        int error = write_error(put);
        if (error == -EINTR)
            continue;
        if (error)
            return error;
        if (early)
            give_to_disk(h, offset, (u64)put);
        offset += (u64)put, bytes -= (u64)put;
        v = io_vector_after(v, (u64)put);
    }
    return 0;
}

int file_write_vector(struct file *f, u64 offset, struct io_vector v, u64 bytes)
{
    struct iovec first;
    u64 got;
    io_vector_head(v, bytes, &first, 1, &got);
    if (got == bytes)
        return file_write(f, offset, first.iov_base, bytes);
    return f->ops->write_vector ? f->ops->write_vector(f, offset, v, bytes)
                                : write_gathered(f, offset, v, bytes);
}

/* After a failed fdatasync the kernel may have marked the pages clean, so that the next call would
 * succeed without having written them: from then on every flush fails. */
static int host_flush(struct file *f)
{
    struct host_file *h = host(f);
    if (h->unsafe)
        return 0;
    if (__atomic_load_n(&h->lost, __ATOMIC_RELAXED))
        return -EIO;
    count_flush(h);
    if (fdatasync(h->fd) == 0)
        return 0;
    int error = -errno;
    __atomic_store_n(&h->lost, true, __ATOMIC_RELAXED);
    return error;
}

/* ---- holes and size ---- */

static u64 host_size(struct file *f)
{
    off_t end = lseek(host(f)->fd, 0, SEEK_END);
    return end < 0 ? 0 : (u64)end;
}

static int host_truncate(struct file *f, u64 bytes)
{
    const struct host_file *h = host(f);
    if (h->device)
        return bytes <= host_size(f) ? 0 : -ENOSPC;
    return ftruncate(h->fd, (off_t)bytes) < 0 ? -errno : 0;
}

static int write_zeros(struct file *f, u64 offset, u64 bytes)
{
    u64 piece = bytes < ZERO_BYTES ? bytes : ZERO_BYTES;
    u8 *zeros = calloc(1, piece);
    int error = zeros ? 0 : -ENOMEM;
    for (; bytes && !error; offset += piece, bytes -= piece) {
        if (piece > bytes)
            piece = bytes;
        error = host_write(f, offset, zeros, piece);
    }
    free(zeros);
    return error;
}

static int host_zero(struct file *f, u64 offset, u64 bytes)
{
    const struct host_file *h = host(f);
    if (!bytes)
        return 0;
    u64 size = host_size(f);
    if (!h->device && offset + bytes > size) {
        int error = host_truncate(f, offset + bytes);
        if (error || offset >= size)
            return error;
        bytes = size - offset;
    }
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(h->fd, mode, (off_t)offset, (off_t)bytes) == 0)
        return 0;
    return write_zeros(f, offset, bytes);
}

static void host_discard(struct file *f, u64 offset, u64 bytes)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int ignored = fallocate(host(f)->fd, mode, (off_t)offset, (off_t)bytes);
    (void)ignored;
}

static int host_reserve(struct file *f, u64 offset, u64 bytes)
{
    return host(f)->device ? 0 : -posix_fallocate(host(f)->fd, (off_t)offset, (off_t)bytes);
}

static u64 host_allocated(struct file *f)
{
    struct stat st;
    if (fstat(host(f)->fd, &st) < 0)
        return 0;
    return host(f)->device ? host_size(f) : (u64)st.st_blocks * STAT_BLOCK;
}

static int host_extent(struct file *f, u64 offset, u64 *run)
{
    int fd = host(f)->fd;
    u64 size = host_size(f);
    if (offset >= size) {
        *run = 0;
        return 0;
    }
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* a hole up to the end */
        *run = size - offset;
        return 0;
    }
    if (data < 0 || (u64)data == offset) {
        off_t hole = data < 0 ? -1 : lseek(fd, (off_t)offset, SEEK_HOLE);
        *run = (hole < 0 ? size : (u64)hole) - offset;
        return 1;
    }
    *run = (u64)data - offset;
    return 0;
}

static void host_close(struct file *f)
{
    struct host_file *h = host(f);
    if (h->direct_fd != NO_DESCRIPTOR)
        close(h->direct_fd);
    if (h->fd != NO_DESCRIPTOR)
        close(h->fd);
    free(h);
}

static const struct file_ops host_ops = {
    .read = host_read,
    .read_vector = host_read_vector,
    .write = host_write,
    .write_vector = host_write_vector,
    .flush = host_flush,
    .zero = host_zero,
    .discard = host_discard,
    .reserve = host_reserve,
    .truncate = host_truncate,
    .size = host_size,
    .allocated = host_allocated,
    .extent = host_extent,
    .close = host_close,
};

/* ---- locks ---- */

enum { LOCK_USES = 100, LOCK_BARS = 200 };
enum { MAY_READ = 0, MAY_WRITE = 1, MAY_RESIZE = 3 };

/* Holds byte `at`. File systems without such locks are lived with. */
static void hold(int fd, off_t at)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    fcntl(fd, F_OFD_SETLK, &lock);
}

/* True when another open file holds byte `at`. */
static bool held_by_other(int fd, off_t at)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* All locks are shared ones, so that holding never fails; the test after it decides. Of two that
 * race both may lose, never both win. */
static bool try_lock(int fd, bool writable)
{
    hold(fd, LOCK_USES + MAY_READ);
    hold(fd, LOCK_BARS + MAY_WRITE);
    hold(fd, LOCK_BARS + MAY_RESIZE);
    if (held_by_other(fd, LOCK_USES + MAY_WRITE) || held_by_other(fd, LOCK_USES + MAY_RESIZE))
        return false;
    if (!writable)
        return true;
    hold(fd, LOCK_USES + MAY_WRITE);
    hold(fd, LOCK_USES + MAY_RESIZE);
    return !held_by_other(fd, LOCK_BARS + MAY_WRITE) && !held_by_other(fd, LOCK_BARS + MAY_RESIZE);
}

/* A file that was just closed keeps its locks for as long as somebody looks at it in /proc/PID/fd,
 * as lsof does: some microseconds. Of two that race one gets the lock when both let go. */
static bool lock_image(int fd, bool writable)
{
    enum { TRIES = 20, PAUSE_NS = 5000000 };
    for (int i = 0; !try_lock(fd, writable); i++) {
        struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        fcntl(fd, F_OFD_SETLK, &all);
        if (i == TRIES)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return true;
}

/* ---- opening ---- */

static void explain_open(const char *path, bool writable, int why, char *error, size_t n)
{
    switch (why) {
    case ENOENT:
        snprintf(error, n, "%s: no such file; \"anello image create\" makes an empty disk", path);
        break;
    case EACCES:
    case EPERM:
    case EROFS:
        snprintf(error, n, "%s: no permission to %s it%s", path, writable ? "write" : "read",
                 writable ? "; change its mode, or use it read-only or with -snapshot" : "");
        break;
    default: snprintf(error, n, "%s: %s", path, strerror(why)); break;
    }
}

static bool check_kind(struct host_file *h, const char *path, char *error, size_t n)
{
    struct stat st;
    if (fstat(h->fd, &st) < 0) {
        snprintf(error, n, "%s: %s", path, strerror(errno));
        return false;
    }
    h->device = S_ISBLK(st.st_mode);
    if (S_ISREG(st.st_mode) || h->device)
        return true;
    snprintf(error, n, "%s: is a %s, not a disk image", path,
             S_ISDIR(st.st_mode) ? "directory" : "special file");
    return false;
}

static bool open_direct(struct host_file *h, const char *path, int flags, char *error, size_t n)
{
    h->direct_fd = open(path, flags | O_DIRECT, 0666);
    if (h->direct_fd >= 0)
        return true;
    h->direct_fd = NO_DESCRIPTOR;
    if (errno == EINVAL)
        snprintf(error, n,
                 "%s: its file system cannot go around the page cache; "
                 "use cache=writeback",
                 path);
    else
        snprintf(error, n, "%s: %s", path, strerror(errno));
    return false;
}

struct file *file_open(const char *path, unsigned flags, char *error, size_t n)
{
    bool writable = flags & FILE_WRITABLE;
    int mode = O_CLOEXEC | O_NONBLOCK | (writable ? O_RDWR : O_RDONLY) |
               (flags & FILE_CREATE ? O_CREAT : 0) | (flags & FILE_SYNC ? O_DSYNC : 0);
    struct host_file *h = calloc(1, sizeof *h);
    if (!h) {
        snprintf(error, n, "%s: out of memory", path);
        return NULL;
    }
    *h = (struct host_file){.file.ops = &host_ops, .direct_fd = NO_DESCRIPTOR};
    h->unsafe = flags & FILE_UNSAFE;
    h->fd = open(path, mode, 0666);
    if (h->fd < 0) {
        if (errno == EISDIR)
            snprintf(error, n, "%s: is a directory, not a disk image", path);
        else
            explain_open(path, writable, errno, error, n);
        goto fail;
    }
    if (!check_kind(h, path, error, n))
        goto fail;
    if (!(flags & FILE_NO_LOCK) && !lock_image(h->fd, writable)) {
        snprintf(error, n,
                 "%s: is in use by another virtual machine or tool; end that one, or "
                 "use a copy of the image",
                 path);
        goto fail;
    }
    if ((flags & FILE_CREATE) && !h->device && ftruncate(h->fd, 0) < 0) {
        snprintf(error, n, "%s: %s", path, strerror(errno));
        goto fail;
    }
    if ((flags & FILE_DIRECT) && !open_direct(h, path, mode & ~O_CREAT, error, n))
        goto fail;
    return &h->file;
fail:
    host_close(&h->file);
    return NULL;
}

struct file *file_open_temporary(char *error, size_t n)
{
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder)
        folder = "/var/tmp";
    struct host_file *h = calloc(1, sizeof *h);
    if (!h) {
        snprintf(error, n, "out of memory");
        return NULL;
    }
    *h = (struct host_file){.file.ops = &host_ops, .direct_fd = NO_DESCRIPTOR, .unsafe = true};
    char name[4096];
    snprintf(name, sizeof name, "%s/anello-XXXXXX", folder);
    h->fd = mkostemp(name, O_CLOEXEC);
    if (h->fd < 0) {
        snprintf(error, n, "cannot make a temporary file in %s (set TMPDIR to another folder): %s",
                 folder, strerror(errno));
        host_close(&h->file);
        return NULL;
    }
    unlink(name);
    return &h->file;
}
