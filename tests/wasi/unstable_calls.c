/* WASI before preview 1, which modules of 2019 and 2020 import: the calls that have changed since. */
#include "wasi_test.h"

#define UNSTABLE(name) __attribute__((import_module("wasi_unstable"), import_name(#name)))

struct filestat {
    uint64_t dev, ino;
    uint8_t filetype;
    uint32_t nlink;
    uint64_t size, atim, mtim, ctim;
};

struct subscription {
    uint64_t userdata;
    uint8_t type;
    union {
        struct {
            uint64_t identifier;
            uint32_t id;
            uint64_t timeout, precision;
            uint16_t flags;
        } clock;
        uint32_t fd;
    } u;
};

_Static_assert(sizeof(struct filestat) == 56 && sizeof(struct subscription) == 56, "as they were in 2019");

UNSTABLE(fd_seek) uint16_t unstable_fd_seek(__wasi_fd_t, int64_t offset, uint8_t whence, uint64_t *position);
UNSTABLE(fd_filestat_get) uint16_t unstable_fd_filestat_get(__wasi_fd_t, struct filestat *);
UNSTABLE(path_filestat_get)
uint16_t unstable_path_filestat_get(__wasi_fd_t, uint32_t flags, const char *, size_t, struct filestat *);
UNSTABLE(poll_oneoff)
uint16_t unstable_poll_oneoff(const struct subscription *, __wasi_event_t *, size_t, size_t *count);
UNSTABLE(fd_write) uint16_t unstable_fd_write(__wasi_fd_t, const __wasi_ciovec_t *, size_t, size_t *size);
UNSTABLE(clock_time_get) uint16_t unstable_clock_time_get(uint32_t id, uint64_t precision, uint64_t *time);
UNSTABLE(random_get) uint16_t unstable_random_get(void *, size_t);

enum { CUR, END, SET };

static void unstable_seek(void)
{
    uint64_t position;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(unstable_fd_seek(fd, 4, SET, &position));
    EXPECT(position == 4);
    OK(unstable_fd_seek(fd, -3, CUR, &position));
    EXPECT(position == 1);
    OK(unstable_fd_seek(fd, -1, END, &position));
    EXPECT(position == 5);
    EXPECT_ERRNO(unstable_fd_seek(fd, 0, 3, &position), INVAL);
}

static void unstable_filestat(void)
{
    struct filestat stat;
    __wasi_fd_t fd = make_file("file", "abc");
    OK(unstable_fd_filestat_get(fd, &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_REGULAR_FILE && stat.nlink == 1 && stat.size == 3);
    OK(unstable_path_filestat_get(FOLDER, 0, "file", 4, &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_REGULAR_FILE && stat.nlink == 1 && stat.size == 3);
    EXPECT(stat.mtim > 1700000000ull * 1000000000ull);
}

static void unstable_poll(void)
{
    struct subscription wanted[2] = {{.userdata = 7, .type = __WASI_EVENTTYPE_CLOCK}, {.userdata = 8}};
    __wasi_event_t events[2];
    size_t count;
    wanted[0].u.clock.id = __WASI_CLOCKID_MONOTONIC;
    wanted[0].u.clock.timeout = 10000000;
    OK(unstable_poll_oneoff(wanted, events, 1, &count));
    EXPECT(count == 1 && events[0].userdata == 7 && events[0].type == __WASI_EVENTTYPE_CLOCK);
    wanted[0].u.clock.timeout = 60000000000;
    wanted[1].type = __WASI_EVENTTYPE_FD_WRITE;
    wanted[1].u.fd = 1;
    OK(unstable_poll_oneoff(wanted, events, 2, &count));
    EXPECT(count == 1 && events[0].userdata == 8 && events[0].type == __WASI_EVENTTYPE_FD_WRITE);
}

static void unstable_others(void)
{
    uint64_t now;
    uint8_t bytes[16] = {0}, zeros[16] = {0};
    size_t size;
    __wasi_ciovec_t text = {(const uint8_t *)"written\n", 8};
    OK(unstable_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &now));
    EXPECT(now > 1700000000ull * 1000000000ull);
    OK(unstable_random_get(bytes, sizeof bytes));
    EXPECT(memcmp(bytes, zeros, sizeof bytes));
    OK(unstable_fd_write(1, &text, 1, &size));
    EXPECT(size == 8);
}

const struct call unstable_calls[] = {
    {"unstable_seek", unstable_seek},
    {"unstable_filestat", unstable_filestat},
    {"unstable_poll", unstable_poll},
    {"unstable_others", unstable_others},
    {NULL, NULL},
};
