/* Waiting, and what can be done with sockets: none are handed to a guest, so each call says so. */
#include "wasi_test.h"

__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_raise"))) int32_t raise_signal(int32_t signal);

static __wasi_subscription_t timer(uint64_t id, uint64_t nanoseconds, __wasi_subclockflags_t flags)
{
    __wasi_subscription_t subscription = {.userdata = id, .u.tag = __WASI_EVENTTYPE_CLOCK};
    subscription.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
    subscription.u.u.clock.timeout = nanoseconds;
    subscription.u.u.clock.flags = flags;
    return subscription;
}

static uint64_t now(void)
{
    __wasi_timestamp_t time;
    OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &time));
    return time;
}

static void poll_oneoff(void)
{
    __wasi_subscription_t wanted[2] = {timer(7, 50000000, 0), timer(8, 60000000000, 0)};
    __wasi_event_t events[2];
    __wasi_size_t count;
    uint64_t before = now();
    OK(__wasi_poll_oneoff(wanted, events, 2, &count));
    EXPECT(count == 1 && events[0].userdata == 7 && events[0].error == 0);
    EXPECT(events[0].type == __WASI_EVENTTYPE_CLOCK);
    EXPECT(now() - before >= 50000000);

    wanted[0] = timer(9, before, __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME); /* long past */
    OK(__wasi_poll_oneoff(wanted, events, 2, &count));
    EXPECT(count == 1 && events[0].userdata == 9);
    EXPECT_ERRNO(__wasi_poll_oneoff(wanted, events, 0, &count), INVAL);
}

static void poll_oneoff_descriptors(void)
{
    /* stdin has been closed by the test, so it is readable, and stdout is always writable */
    __wasi_subscription_t wanted[2] = {{.userdata = 1}, {.userdata = 2}};
    __wasi_event_t events[2];
    __wasi_size_t count;
    wanted[0].u.tag = __WASI_EVENTTYPE_FD_READ;
    wanted[0].u.u.fd_read.file_descriptor = 0;
    wanted[1].u.tag = __WASI_EVENTTYPE_FD_WRITE;
    wanted[1].u.u.fd_write.file_descriptor = 1;
    OK(__wasi_poll_oneoff(wanted, events, 1, &count));
    EXPECT(count == 1 && events[0].userdata == 1 && events[0].type == __WASI_EVENTTYPE_FD_READ);
    OK(__wasi_poll_oneoff(wanted + 1, events, 1, &count));
    EXPECT(count == 1 && events[0].userdata == 2 && events[0].type == __WASI_EVENTTYPE_FD_WRITE);
}

static void proc_raise(void)
{
    EXPECT(raise_signal(15) == __WASI_ERRNO_NOTSUP); /* a guest may not signal its host */
}

static void sock_accept(void)
{
    __wasi_fd_t fd;
    EXPECT_ERRNO(__wasi_sock_accept(UNUSED_FD, 0, &fd), BADF);
    EXPECT_ERRNO(__wasi_sock_accept(make_file("file", ""), 0, &fd), NOTSOCK);
}

static void sock_recv(void)
{
    uint8_t byte;
    __wasi_iovec_t buffer = {&byte, 1};
    __wasi_size_t size;
    __wasi_roflags_t flags;
    EXPECT_ERRNO(__wasi_sock_recv(UNUSED_FD, &buffer, 1, 0, &size, &flags), BADF);
    EXPECT_ERRNO(__wasi_sock_recv(make_file("file", ""), &buffer, 1, 0, &size, &flags), NOTSOCK);
}

static void sock_send(void)
{
    __wasi_ciovec_t buffer = {(const uint8_t *)"x", 1};
    __wasi_size_t size;
    EXPECT_ERRNO(__wasi_sock_send(UNUSED_FD, &buffer, 1, 0, &size), BADF);
    EXPECT_ERRNO(__wasi_sock_send(make_file("file", ""), &buffer, 1, 0, &size), NOTSOCK);
}

static void sock_shutdown(void)
{
    EXPECT_ERRNO(__wasi_sock_shutdown(UNUSED_FD, 3), BADF);
    EXPECT_ERRNO(__wasi_sock_shutdown(make_file("file", ""), 3), NOTSOCK);
}

const struct call poll_calls[] = {
    {"poll_oneoff", poll_oneoff},
    {"poll_oneoff_descriptors", poll_oneoff_descriptors},
    {"proc_raise", proc_raise},
    {"sock_accept", sock_accept},
    {"sock_recv", sock_recv},
    {"sock_send", sock_send},
    {"sock_shutdown", sock_shutdown},
    {NULL, NULL},
};
