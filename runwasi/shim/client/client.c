/* containerd-shim-ENGINE-v1 and containerd-shim-ENGINEd-v1: hand a call to the node daemon.
 *
 * containerd starts this program two or three times per pod, and waits for it. An interpreter needs 10 ms to start,
 * this needs half of one; the daemon is an interpreter that has started. Whatever goes wrong here (no daemon, one of
 * another version, no answer in time), the Python launcher is executed in our place and does the same, only slower.
 * packet.py beside this file describes what is said and holds the other end of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef LAUNCHER
#define LAUNCHER "../lib/runwasi/launchers/%s" /* of a name, as seen from the folder of this program */
#endif
#define MAGIC "runwasi1"
static const char mark[] __attribute__((used)) = "# A launcher of runwasi"; /* by which its installer knows it */
enum { TAKEN = 'T', ANSWER = 'A', COLD = 'C' };
enum { TAKEN_MS = 1000, ANSWER_MS = 10000 };
enum { INPUT_MOST = 32 << 10, PACKET_MOST = 96 << 10, REPLY_MOST = 64 << 10 };

struct header { char magic[8]; uint32_t arguments, variables, input; };
struct reply { char magic[8]; uint8_t kind, status; uint16_t unused; uint32_t output; char body[REPLY_MOST]; };

extern char **environ;
static char **arguments;
static const char *name; /* of this program, without its folder */
static char input[INPUT_MOST];
static size_t input_size;
static struct reply reply;

static void give_back_input(void)
{
    int file = memfd_create("stdin", 0);
    if (file < 0 || write(file, input, input_size) != (ssize_t)input_size)
        return;
    char more[4096]; /* there was more than we take */
    for (ssize_t size; (size = read(0, more, sizeof more)) > 0;)
        if (write(file, more, size) != size)
            return;
    lseek(file, 0, SEEK_SET);
    dup2(file, 0);
    close(file);
}

/* An installation that came meanwhile has removed our version, and put another program in our place. */
static void start_anew(void)
{
    struct stat ours, installed;
    if (!stat("/proc/self/exe", &ours) && !stat(arguments[0], &installed)
        && (ours.st_ino != installed.st_ino || ours.st_dev != installed.st_dev))
        execv(arguments[0], arguments);
}

static _Noreturn void go_the_cold_way(void)
{
    static char path[PATH_MAX * 2];
    if (input_size)
        give_back_input();
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *end = size > 0 ? strrchr(path, '/') : NULL;
    if (end) {
        snprintf(end + 1, PATH_MAX, LAUNCHER, name);
        execv(path, arguments);
    }
    const int why = errno;
    if (why == ENOENT)
        start_anew();
    dprintf(2, "%s: cannot execute %s: %s\n", name, path, strerror(why));
    _exit(1);
}

static void open_missing_streams(void)
{
    for (int fd; (fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0;) {
        if (fd > 2) {
            close(fd);
            return;
        }
        fcntl(fd, F_SETFD, 0);
    }
}

static int asks_for_input(void)
{
    int asks = 0;
    for (char **argument = arguments + 1; *argument; argument++)
        asks |= !strcmp(*argument, "start") || !strcmp(*argument, "-info") || !strcmp(*argument, "--info");
    return asks;
}

static void read_input(void)
{
    for (ssize_t size = 1; size > 0; input_size += size > 0 ? size : 0) {
        if (input_size == sizeof input)
            go_the_cold_way();
        size = read(0, input + input_size, sizeof input - input_size);
    }
}

/* Find the daemon's socket: containerd-shim-wasmtime-v1 and containerd-shim-wasmtimed-v1 share one. */
static void find_socket(struct sockaddr_un *address)
{
    const char *prefix = "containerd-shim-", *given = getenv("RUNWASI_DAEMON_SOCKET");
    size_t skip = strlen(prefix), length = strlen(name);
    if (strncmp(name, prefix, skip) || length < skip + 5 || strcmp(name + length - 3, "-v1"))
        go_the_cold_way();
    int engine = (int)(length - skip - 3);
    engine -= name[skip + engine - 1] == 'd';
    address->sun_family = AF_UNIX;
    int size = given ? snprintf(address->sun_path, sizeof address->sun_path, "%s", given)
                     : snprintf(address->sun_path, sizeof address->sun_path,
                                "/run/io.containerd.%.*s.v1/manager.sock", engine, name + skip);
    if (size >= (int)sizeof address->sun_path)
        go_the_cold_way();
}

/* Write the path of the note that says: this daemon hangs, do not wait for it. */
static const char *note_of(const struct sockaddr_un *address)
{
    static char path[sizeof address->sun_path + 8];
    snprintf(path, sizeof path, "%s.hangs", address->sun_path);
    return path;
}

static int belongs_to_us(const struct sockaddr_un *address)
{
    char folder[sizeof address->sun_path];
    struct stat status;
    strcpy(folder, address->sun_path);
    char *end = strrchr(folder, '/');
    if (!end || end == folder)
        return 0;
    *end = 0;
    return !lstat(folder, &status) && S_ISDIR(status.st_mode) && status.st_uid == geteuid() && !(status.st_mode & 022);
}

static int connect_to(const struct sockaddr_un *address)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address)
        || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != geteuid())
        go_the_cold_way();
    return fd;
}

static char *put(char *at, const char *end, const void *data, size_t size)
{
    if (size > (size_t)(end - at))
        go_the_cold_way();
    memcpy(at, data, size);
    return at + size;
}

static void send_call(int fd)
{
    static char packet[PACKET_MOST];
    struct header header = {.input = (uint32_t)input_size};
    char *at = packet + sizeof header, *end = packet + sizeof packet;
    at = put(at, end, VERSION, sizeof VERSION);
    at = put(at, end, name, strlen(name) + 1);
    for (char **argument = arguments + 1; *argument; argument++, header.arguments++)
        at = put(at, end, *argument, strlen(*argument) + 1);
    for (char **variable = environ; *variable; variable++, header.variables++)
        at = put(at, end, *variable, strlen(*variable) + 1);
    at = put(at, end, input, input_size);
    memcpy(header.magic, MAGIC, sizeof header.magic);
    memcpy(packet, &header, sizeof header);

    int folder = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    union { struct cmsghdr head; char space[CMSG_SPACE(sizeof folder)]; } control = {0};
    struct iovec part = {packet, (size_t)(at - packet)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.head = (struct cmsghdr){CMSG_LEN(sizeof folder), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &folder, sizeof folder);
    if (folder < 0 || sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
        go_the_cold_way();
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Receive a reply; returns the size of its body, -1 when there is none in time, -2 when it is not one. */
static ssize_t receive(int fd, int wait_ms)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    const int64_t deadline = now_ms() + wait_ms;
    int ready;
    do {
        const int64_t left = deadline - now_ms();
        ready = poll(&wanted, 1, left > 0 ? (int)left : 0);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return -1;
    ssize_t size = recv(fd, &reply, sizeof reply, MSG_TRUNC | MSG_DONTWAIT);
    const ssize_t head = offsetof(struct reply, body);
    return size < head || size > (ssize_t)sizeof reply || memcmp(reply.magic, MAGIC, sizeof reply.magic) ? -2 : size - head;
}

/* The daemon does not answer. Later calls are not to wait for it, and it must not carry this one out any more: after
 * SHUT_RD it cannot say that it has taken it, and without having said so it does nothing. Had it just done so, wait
 * until it is through. The note comes first: finding us gone is what makes the daemon remove it. */
static _Noreturn void give_up(int fd, const struct sockaddr_un *address)
{
    int note = open(note_of(address), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    close(note);
    shutdown(fd, SHUT_RD);
    if (recv(fd, &reply, sizeof reply, MSG_DONTWAIT) > 0) {
        unlink(note_of(address));
        struct pollfd closed = {.fd = fd, .events = 0};
        poll(&closed, 1, ANSWER_MS);
    }
    go_the_cold_way();
}

static int write_all(int fd, const char *data, ssize_t size)
{
    for (ssize_t written; size > 0 && (written = write(fd, data, (size_t)size)) > 0; data += written)
        size -= written;
    return size <= 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {0};
    const char *wish = getenv("RUNWASI_DAEMON");
    if (argc < 1)
        return 1;
    open_missing_streams();
    arguments = argv;
    name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    find_socket(&address);
    if ((wish && !strcmp(wish, "off")) || !belongs_to_us(&address) || !access(note_of(&address), F_OK))
        go_the_cold_way();
    int fd = connect_to(&address);
    if (asks_for_input())
        read_input();
    send_call(fd);
    ssize_t size = receive(fd, TAKEN_MS);
    if (size == -1)
        give_up(fd, &address);
    if (size < 0 || reply.kind != TAKEN)
        go_the_cold_way();
    size = receive(fd, ANSWER_MS);
    if (size < 0 || reply.kind != ANSWER || reply.output > (size_t)size)
        go_the_cold_way();
    if (!write_all(1, reply.body, reply.output) || !write_all(2, reply.body + reply.output, size - reply.output)) {
        dprintf(2, "%s: %s\n", name, strerror(errno));
        return 1;
    }
    return reply.status;
}
