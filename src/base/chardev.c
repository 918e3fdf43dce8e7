/* SPDX-License-Identifier: MIT
 *
 * One structure serves every back-end: an input descriptor, an output descriptor and a bounded
 * queue between guest and output. A socket server has a listening descriptor besides and takes one
 * client at a time. Files have no input. A pair has neither and hands bytes over by a post, so that
 * a receiver is never called from inside its own write.
 */
#include "base/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"

#define QUEUE_LIMIT MIB(1)
#define READ_CHUNK  4096

struct chardev {
    struct loop *loop;
    struct chardev_sink sink;
    int in_fd, out_fd, listen_fd; /* -1: none */
    bool own_fds;                 /* close them at the end */
    struct loop_watch *in_watch, *out_watch, *listen_watch;
    bool in_paused; /* the sink was full: input is not watched */
    u8 *queue;
    size_t queued, queue_size;
    char *unlink_path; /* socket file that we made */
    bool raw_terminal;
    struct termios saved_termios;
    struct chardev *peer; /* of a pair */
    bool post_pending;
};

static void on_input(void *opaque, unsigned events);
static void on_output(void *opaque, unsigned events);

static struct chardev *new_chardev(struct loop *loop)
{
    struct chardev *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->loop = loop;
    c->in_fd = c->out_fd = c->listen_fd = -1;
    return c;
}

static void set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void watch_input(struct chardev *c)
{
    if (c->in_fd >= 0 && !c->in_watch)
        c->in_watch = loop_watch(c->loop, c->in_fd, LOOP_READ, on_input, c);
}

static void unwatch_input(struct chardev *c)
{
    loop_unwatch(c->in_watch);
    c->in_watch = NULL;
}

static void tell(struct chardev *c, bool connected)
{
    if (c->sink.event)
        c->sink.event(c->sink.opaque, connected);
}

/* The peer is gone. A server waits for the next one. */
static void hang_up(struct chardev *c)
{
    unwatch_input(c);
    loop_unwatch(c->out_watch);
    c->out_watch = NULL;
    c->queued = 0;
    if (c->own_fds && c->in_fd >= 0)
        close(c->in_fd);
    if (c->own_fds && c->out_fd >= 0 && c->out_fd != c->in_fd)
        close(c->out_fd);
    c->in_fd = c->out_fd = -1;
    tell(c, false);
}

static size_t sink_room(struct chardev *c)
{
    return c->sink.receive && c->sink.can_receive ? c->sink.can_receive(c->sink.opaque) : 0;
}

static void on_input(void *opaque, unsigned events)
{
    struct chardev *c = opaque;
    (void)events;
    u8 bytes[READ_CHUNK];
    size_t room = sink_room(c);
    if (!room) {
        c->in_paused = true;
        unwatch_input(c);
        return;
    }
    ssize_t n = read(c->in_fd, bytes, room < sizeof bytes ? room : sizeof bytes);
    if (n > 0) {
        c->sink.receive(c->sink.opaque, bytes, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        if (c->in_fd == c->out_fd) {
            hang_up(c);
        } else { /* end of stdin: output goes on */
            unwatch_input(c);
            c->in_fd = -1;
        }
    }
}

void chardev_accept(struct chardev *c)
{
    if (!c)
        return;
    if (c->in_paused && sink_room(c)) {
        c->in_paused = false;
        watch_input(c);
    }
    if (c->peer && c->peer->queued)
        chardev_write(c->peer, NULL, 0);
}

static void on_connect(void *opaque, unsigned events)
{
    struct chardev *c = opaque;
    (void)events;
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (c->in_fd >= 0) { /* one client at a time */
        close(fd);
        return;
    }
    c->in_fd = c->out_fd = fd;
    c->own_fds = true;
    c->in_paused = false;
    watch_input(c);
    tell(c, true);
}

/* ---- output ---- */

static void drop_written(struct chardev *c, size_t n)
{
    memmove(c->queue, c->queue + n, c->queued - n);
    c->queued -= n;
}

/* Writes what the descriptor takes now. False when the peer is gone. */
static bool push_out(struct chardev *c)
{
    while (c->queued) {
        ssize_t n = write(c->out_fd, c->queue, c->queued);
        if (n > 0) {
            drop_written(c, (size_t)n);
        } else if (errno == EAGAIN) {
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void flush_queue(struct chardev *c)
{
    if (c->out_fd < 0) {
        c->queued = 0;
        return;
    }
    if (!push_out(c)) {
        if (c->listen_fd >= 0)
            hang_up(c);
        else
            c->queued = 0;
        return;
    }
    if (c->queued && !c->out_watch) {
        c->out_watch = loop_watch(c->loop, c->out_fd, LOOP_WRITE, on_output, c);
    } else if (!c->queued && c->out_watch) {
        loop_unwatch(c->out_watch);
        c->out_watch = NULL;
    }
}

static void on_output(void *opaque, unsigned events)
{
    (void)events;
    flush_queue(opaque);
}

/* Delivers a pair's queue to the other end, as far as it has room. */
static void deliver_pair(void *opaque)
{
    struct chardev *c = opaque;
    c->post_pending = false;
    if (!c->peer)
        return;
    size_t room = sink_room(c->peer);
    size_t n = c->queued < room ? c->queued : room;
    if (!n)
        return;
    u8 *bytes = malloc(n);
    if (!bytes)
        return;
    memcpy(bytes, c->queue, n);
    drop_written(c, n);
    c->peer->sink.receive(c->peer->sink.opaque, bytes, n);
    free(bytes);
}

static bool enqueue(struct chardev *c, const void *bytes, size_t n)
{
    if (n > QUEUE_LIMIT - c->queued)
        n = QUEUE_LIMIT - c->queued;
    if (c->queued + n > c->queue_size) {
        size_t size = c->queued + n < 4096 ? 4096 : (c->queued + n) * 2;
        u8 *grown = realloc(c->queue, size);
        if (!grown)
            return false;
        c->queue = grown;
        c->queue_size = size;
    }
    if (n)
        memcpy(c->queue + c->queued, bytes, n);
    c->queued += n;
    return true;
}

void chardev_write(struct chardev *c, const void *bytes, size_t n)
{
    if (!c || !enqueue(c, bytes, n))
        return;
    if (c->peer) {
        if (c->queued && !c->post_pending) {
            c->post_pending = true;
            loop_post(c->loop, deliver_pair, c);
        }
        return;
    }
    if (!c->out_watch)
        flush_queue(c);
}

void chardev_drain(struct chardev *c, int timeout_ms)
{
    if (!c || c->out_fd < 0)
        return;
    while (c->queued && timeout_ms > 0) {
        struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
        int step = timeout_ms < 50 ? timeout_ms : 50;
        if (poll(&p, 1, step) > 0 && !push_out(c))
            return;
        timeout_ms -= step;
    }
}

void chardev_set_sink(struct chardev *c, const struct chardev_sink *sink)
{
    if (!c)
        return;
    c->sink = sink ? *sink : (struct chardev_sink){0};
    c->in_paused = false;
    if (sink)
        watch_input(c);
    else
        unwatch_input(c);
    if (c->peer && c->peer->queued)
        chardev_write(c->peer, NULL, 0);
}

/* ---- opening ---- */

static struct chardev *open_stdio(struct loop *loop)
{
    struct chardev *c = new_chardev(loop);
    if (!c)
        return NULL;
    c->in_fd = STDIN_FILENO;
    c->out_fd = STDOUT_FILENO;
    struct stat st;
    if (fstat(STDOUT_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        set_nonblocking(STDOUT_FILENO); /* a reader that stalls must not stall the machine */
    struct termios t;
    if (isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &t) == 0) {
        c->saved_termios = t;
        c->raw_terminal = true;
        t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
        t.c_cc[VMIN] = 1;
        t.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &t);
    }
    /* A regular file or /dev/null as stdin cannot be polled: its loop_watch() fails, and input
     * simply never comes. */
    return c;
}

static struct chardev *open_file(struct loop *loop, const char *path, char *error, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        snprintf(error, n, "cannot write '%s': %s", path, strerror(errno));
        return NULL;
    }
    struct chardev *c = new_chardev(loop);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->out_fd = fd;
    c->own_fds = true;
    return c;
}

static int unix_server(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* A socket file nobody listens on is left over from a run that died. */
    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 && errno == ECONNREFUSED)
        unlink(addr->sun_path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)addr, sizeof *addr) < 0 || listen(fd, 1) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int unix_client(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    if (fd >= 0)
        set_nonblocking(fd);
    return fd;
}

/* SPEC after "unix:": PATH[,server[=on|off]][,nowait][,wait=on|off] */
static struct chardev *open_unix(struct loop *loop, const char *spec, char *error, size_t n)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *comma = strchrnul(spec, ',');
    size_t len = (size_t)(comma - spec);
    if (!len || len >= sizeof addr.sun_path) {
        snprintf(error, n, "unix socket path is empty or longer than %zu bytes",
                 sizeof addr.sun_path - 1);
        return NULL;
    }
    memcpy(addr.sun_path, spec, len);
    bool server = strstr(comma, ",server") && !strstr(comma, ",server=off");
    int fd = server ? unix_server(&addr) : unix_client(&addr);
    if (fd < 0) {
        snprintf(error, n, "cannot %s unix socket '%s': %s", server ? "listen on" : "connect to",
                 addr.sun_path, strerror(errno));
        return NULL;
    }
    struct chardev *c = new_chardev(loop);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->own_fds = true;
    if (server) {
        c->listen_fd = fd;
        c->unlink_path = strdup(addr.sun_path);
        c->listen_watch = loop_watch(loop, fd, LOOP_READ, on_connect, c);
    } else {
        c->in_fd = c->out_fd = fd;
    }
    return c;
}

static struct chardev *open_pty(struct loop *loop, char *error, size_t n)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0) {
        snprintf(error, n, "cannot open a pseudo-terminal: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    char name[128];
    if (ptsname_r(fd, name, sizeof name) == 0)
        fprintf(stderr, "anello: character device redirected to %s\n", name);
    set_nonblocking(fd);
    struct chardev *c = new_chardev(loop);
    if (!c) {
        close(fd);
        return NULL;
    }
    c->in_fd = c->out_fd = fd;
    c->own_fds = true;
    return c;
}

struct chardev *chardev_open(const char *spec, struct loop *loop, char *error, size_t n)
{
    snprintf(error, n, "out of memory");
    if (!strcmp(spec, "stdio") || !strcmp(spec, "mon:stdio"))
        return open_stdio(loop);
    if (!strcmp(spec, "none") || !strcmp(spec, "null"))
        return new_chardev(loop);
    if (!strncmp(spec, "file:", 5))
        return open_file(loop, spec + 5, error, n);
    if (!strncmp(spec, "unix:", 5))
        return open_unix(loop, spec + 5, error, n);
    if (!strcmp(spec, "pty"))
        return open_pty(loop, error, n);
    snprintf(error, n,
             "unknown character device '%s': use stdio, file:PATH, unix:PATH[,server,nowait], pty "
             "or none",
             spec);
    return NULL;
}

void chardev_pair(struct loop *loop, struct chardev **a, struct chardev **b)
{
    *a = new_chardev(loop);
    *b = new_chardev(loop);
    if (!*a || !*b)
        abort();
    (*a)->peer = *b;
    (*b)->peer = *a;
}

void chardev_close(struct chardev *c)
{
    if (!c)
        return;
    if (c->peer)
        c->peer->peer = NULL;
    unwatch_input(c);
    loop_unwatch(c->out_watch);
    loop_unwatch(c->listen_watch);
    if (c->raw_terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &c->saved_termios);
    if (c->own_fds) {
        if (c->in_fd >= 0)
            close(c->in_fd);
        if (c->out_fd >= 0 && c->out_fd != c->in_fd)
            close(c->out_fd);
    }
    if (c->listen_fd >= 0)
        close(c->listen_fd);
    if (c->unlink_path)
        unlink(c->unlink_path);
    free(c->unlink_path);
    free(c->queue);
    free(c);
}
