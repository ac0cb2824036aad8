/* Arguments, environment, clocks, random numbers, scheduling, exit. */
#include "wasi_test.h"

static void args_sizes_get(void)
{
    __wasi_size_t count, size;
    OK(__wasi_args_sizes_get(&count, &size));
    EXPECT(count == 4);
    EXPECT(size > strlen("args_sizes_get") + strlen("second") + strlen("") + 4);
}

static void args_get(void)
{
    __wasi_size_t count, size;
    OK(__wasi_args_sizes_get(&count, &size));
    uint8_t **argv = malloc(count * sizeof *argv), *text = malloc(size);
    OK(__wasi_args_get(argv, text));
    EXPECT(!strcmp((char *)argv[1], "args_get"));
    EXPECT(!strcmp((char *)argv[2], "second"));
    EXPECT(!strcmp((char *)argv[3], ""));
}

static void environ_sizes_get(void)
{
    __wasi_size_t count, size;
    OK(__wasi_environ_sizes_get(&count, &size));
    EXPECT(count == 2);
    EXPECT(size == sizeof "NAME=value" + sizeof "EMPTY=");
}

static void environ_get(void)
{
    uint8_t *variables[2], text[sizeof "NAME=value" + sizeof "EMPTY="];
    OK(__wasi_environ_get(variables, text));
    EXPECT(!strcmp((char *)variables[0], "NAME=value"));
    EXPECT(!strcmp((char *)variables[1], "EMPTY="));
}

static void clock_res_get(void)
{
    __wasi_timestamp_t resolution;
    OK(__wasi_clock_res_get(__WASI_CLOCKID_REALTIME, &resolution));
    EXPECT(resolution > 0 && resolution <= 1000000000);
    OK(__wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, &resolution));
    EXPECT(resolution > 0 && resolution <= 1000000000);
}

static void clock_time_get(void)
{
    __wasi_timestamp_t now, before, after;
    OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &now));
    EXPECT(now > 1700000000ull * 1000000000ull);
    OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &before));
    OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &after));
    EXPECT(after >= before);
}

static void random_get(void)
{
    uint8_t first[32] = {0}, second[32] = {0}, zeros[32] = {0};
    OK(__wasi_random_get(first, sizeof first));
    OK(__wasi_random_get(second, sizeof second));
    EXPECT(memcmp(first, second, sizeof first) && memcmp(first, zeros, sizeof first));
    OK(__wasi_random_get(first, 0));
}

static void sched_yield(void)
{
    OK(__wasi_sched_yield());
}

static void proc_exit(void)
{
    __wasi_proc_exit(77);
}

const struct call process_calls[] = {
    {"args_sizes_get", args_sizes_get},
    {"args_get", args_get},
    {"environ_sizes_get", environ_sizes_get},
    {"environ_get", environ_get},
    {"clock_res_get", clock_res_get},
    {"clock_time_get", clock_time_get},
    {"random_get", random_get},
    {"sched_yield", sched_yield},
    {"proc_exit", proc_exit},
    {NULL, NULL},
};
