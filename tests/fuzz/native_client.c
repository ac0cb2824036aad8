/* The native client with a kernel that the input plays: arguments, variables, stdin, and each answer of each call.
 *
 * A program that is executed, or an exit, ends the input's turn; everything written must be readable in full, and a
 * call that is sent must hold as many texts as it announces.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
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

static const uint8_t *given;
static size_t left;
static jmp_buf turn;
static char *variables[256];
static volatile uint8_t seen;

static uint8_t number(void) { return left ? (left--, *given++) : 0; }

static size_t take(void *to, size_t most)
{
    size_t size = ((size_t)number() << 8 | number()) % (most + 1);
    size = size < left ? size : left;
    memcpy(to, given, size);
    given += size, left -= size;
    return size;
}

static void look_at(const void *data, size_t size)
{
    for (size_t at = 0; at < size; at++)
        seen ^= ((const uint8_t *)data)[at];
}

static char *text(void)
{
    char taken[600];
    size_t size = take(taken, sizeof taken);
    return strndup(taken, size);
}

static int fail(int code) { return errno = code, -1; }
static int fuzz_execv(const char *path, char **argv) { look_at(path, strlen(path)); return argv && number() % 2 ? fail(ENOENT) : (longjmp(turn, 1), 0); }
static _Noreturn void fuzz_exit(int status) { (void)status; longjmp(turn, 1); }
static ssize_t fuzz_readlink(const char *path, char *to, size_t size) { (void)path; return number() % 8 ? (ssize_t)take(to, size) : fail(EACCES); }
static int fuzz_stat(const char *path, struct stat *status) { look_at(path, strlen(path)); memset(status, number(), sizeof *status); return number() % 2 ? 0 : fail(ENOENT); }
static int fuzz_lstat(const char *path, struct stat *status)
{
    look_at(path, strlen(path));
    memset(status, 0, sizeof *status);
    uint8_t how = number();
    status->st_mode = how & 1 ? S_IFREG | 0644 : how & 2 ? S_IFDIR | 0777 : S_IFDIR | 0711;
    status->st_uid = how & 4 ? 1 : geteuid();
    return how & 8 ? fail(ENOENT) : 0;
}
static int fuzz_access(const char *path, int mode) { look_at(path, strlen(path)); return mode == F_OK && number() % 16 == 1 ? 0 : fail(ENOENT); }
static int fuzz_open(const char *path, int flags, ...) { look_at(path, strlen(path)); return flags & O_CREAT ? 9 : number() % 16 == 1 ? fail(EMFILE) : 3 + number() % 4; }
static int fuzz_close(int fd) { (void)fd; return 0; }
static int fuzz_fcntl(int fd, int command, int flags) { (void)fd, (void)command, (void)flags; return 0; }
static int fuzz_dup2(int from, int to) { (void)from; return to; }
static off_t fuzz_lseek(int fd, off_t at, int whence) { (void)fd, (void)whence; return at; }
static int fuzz_unlink(const char *path) { look_at(path, strlen(path)); return 0; }
static int fuzz_shutdown(int fd, int how) { (void)fd, (void)how; return 0; }
static int fuzz_memfd_create(const char *name, unsigned flags) { look_at(name, strlen(name)); (void)flags; return number() % 8 ? 8 : fail(ENOSYS); }
static int fuzz_socket(int family, int kind, int protocol) { (void)family, (void)kind, (void)protocol; return number() % 16 == 1 ? fail(EMFILE) : 7; }
static int fuzz_connect(int fd, const struct sockaddr *address, socklen_t size) { (void)fd; look_at(address, size); return number() % 16 == 1 ? fail(ECONNREFUSED) : 0; }
static int fuzz_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    (void)fd, (void)level, (void)name;
    memset(value, 0, *size);
    ((struct ucred *)value)->uid = number() % 16 == 1 ? 1 : geteuid();
    return 0;
}
static int fuzz_poll(struct pollfd *fds, nfds_t count, int timeout) { (void)fds, (void)count, (void)timeout; uint8_t how = number(); return how % 16 == 1 ? 0 : how % 16 == 2 ? fail(EINTR) : 1; }
static ssize_t fuzz_read(int fd, void *to, size_t size)
{
    (void)fd;
    return number() % 16 == 1 ? fail(EIO) : left ? (ssize_t)take(to, size) : 0;
}
static ssize_t fuzz_write(int fd, const void *data, size_t size)
{
    (void)fd;
    look_at(data, size);
    uint8_t how = number();
    return how % 16 == 1 ? fail(ENOSPC) : how % 16 == 2 && size ? (ssize_t)(1 + how % size) : (ssize_t)size;
}
static ssize_t fuzz_recv(int fd, void *to, size_t size, int flags)
{
    (void)fd;
    uint8_t how = number();
    if (how % 16 == 1)
        return fail(EAGAIN);
    size_t got = 0;
    if (how % 2) { /* a reply as the daemon makes it, with lengths of any kind */
        uint8_t head[16] = "runwasi1";
        head[8] = "TACx"[number() % 4], head[9] = number();
        uint32_t output = number() << 16 | number() << 8 | number();
        memcpy(head + 12, &output, sizeof output);
        got = size < sizeof head ? size : sizeof head;
        memcpy(to, head, got);
    }
    got += take((char *)to + got, size - got);
    return how % 16 == 3 && flags & MSG_TRUNC ? (ssize_t)(got + 70000) : (ssize_t)got;
}
static ssize_t fuzz_sendmsg(int fd, const struct msghdr *message, int flags)
{
    (void)fd, (void)flags;
    const char *packet = message->msg_iov->iov_base;
    const size_t size = message->msg_iov->iov_len;
    uint32_t counts[3];
    look_at(message->msg_control, message->msg_controllen);
    if (size < 20 || memcmp(packet, "runwasi1", 8))
        abort();
    memcpy(counts, packet + 8, sizeof counts);
    if (counts[2] > size - 20)
        abort();
    uint32_t texts = 0;
    for (size_t at = 20; at < size - counts[2]; at++)
        texts += !packet[at];
    if (texts != 2 + counts[0] + counts[1])
        abort();
    return number() % 16 == 1 ? fail(EPIPE) : (ssize_t)size;
}
static char *fuzz_getenv(const char *wanted)
{
    for (char **variable = variables; *variable; variable++)
        if (!strncmp(*variable, wanted, strlen(wanted)) && (*variable)[strlen(wanted)] == '=')
            return *variable + strlen(wanted) + 1;
    return NULL;
}

#define main client_main
#define execv fuzz_execv
#define _exit fuzz_exit
#define readlink fuzz_readlink
#define lstat(...) fuzz_lstat(__VA_ARGS__)
#define stat(...) fuzz_stat(__VA_ARGS__)
#define access fuzz_access
#define open fuzz_open
#define close fuzz_close
#define fcntl fuzz_fcntl
#define dup2 fuzz_dup2
#define lseek fuzz_lseek
#define unlink fuzz_unlink
#define shutdown fuzz_shutdown
#define memfd_create fuzz_memfd_create
#define socket fuzz_socket
#define connect fuzz_connect
#define getsockopt fuzz_getsockopt
#define poll(...) fuzz_poll(__VA_ARGS__)
#define recv fuzz_recv
#define read fuzz_read
#define write fuzz_write
#define sendmsg fuzz_sendmsg
#define getenv fuzz_getenv
#define dprintf(fd, ...) ((void)snprintf((char[9000]){0}, 9000, __VA_ARGS__))
#define environ fuzz_variables
char **fuzz_variables = variables;
#define VERSION "0.1"
#include "../../runwasi/shim/client/client.c"
#undef read
#undef open
#undef close
#undef main

static int make_arguments(char **argv)
{
    static const char *const names[] = {"containerd-shim-wasmtime-v1", "/usr/bin/containerd-shim-wasmtimed-v1", "containerd-shim--v1", "x"};
    static const char *const words[] = {"start", "delete", "-info", "-id"};
    int count = 0;
    uint8_t how = number();
    argv[count++] = how & 4 ? text() : strdup(names[how & 3]);
    for (int more = number() % 16; more-- > 0;) {
        how = number();
        argv[count++] = how % 2 ? strdup(words[how / 2 % 4]) : text();
    }
    return count;
}

static void make_variables(void)
{
    int variable = 0;
    for (int more = number() % 64; more-- > 0; variable++) {
        uint8_t how = number();
        if (how % 4 == 1) {
            char *value = text();
            if (asprintf(&variables[variable], "RUNWASI_DAEMON_SOCKET=%s", value) < 0)
                abort();
            free(value);
        } else
            variables[variable] = how % 16 == 2 ? strdup("RUNWASI_DAEMON=off") : text();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[18] = {0};
    given = data, left = size;
    const int count = make_arguments(argv);
    make_variables();
    input_size = 0;
    if (!setjmp(turn))
        client_main(count, argv);
    for (int at = 0; at < 17; at++)
        free(argv[at]);
    for (int at = 0; at < 256; at++)
        free(variables[at]), variables[at] = NULL;
    return 0;
}

#ifdef REPLAY /* the files that are named, for compilers without libFuzzer */
int main(int argc, char **argv)
{
    for (int at = 1; at < argc; at++) {
        static uint8_t content[1 << 16];
        int fd = open(argv[at], O_RDONLY);
        ssize_t size = fd < 0 ? -1 : read(fd, content, sizeof content);
        if (size < 0)
            return 2;
        close(fd);
        uint8_t *exact = malloc(size ? size : 1);
        memcpy(exact, content, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    return 0;
}
#endif
