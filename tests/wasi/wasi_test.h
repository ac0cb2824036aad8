/* What the tests of WASI preview 1 share: expectations, and the folder that is preopened as descriptor 3. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

enum { FOLDER = 3, UNUSED_FD = 99 };

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: expected %s\n", __FILE_NAME__, __LINE__, #condition);                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define EXPECT_ERRNO(call, name)                                                                                       \
    do {                                                                                                               \
        __wasi_errno_t got = (call);                                                                                   \
        if (got != __WASI_ERRNO_##name) {                                                                              \
            printf("%s:%d: %s gave errno %d, not " #name "\n", __FILE_NAME__, __LINE__, #call, got);                   \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define OK(call) EXPECT_ERRNO(call, SUCCESS)

struct call {
    const char *name;
    void (*test)(void);
};

extern const struct call process_calls[], descriptor_calls[], path_calls[], poll_calls[], memory_calls[], unstable_calls[];

/* Open a path of the folder with all rights. */
__wasi_fd_t open_at(const char *path, __wasi_oflags_t how, __wasi_fdflags_t flags);
/* Make a file with this content and open it for reading and writing, at its start. */
__wasi_fd_t make_file(const char *path, const char *content);
/* Read up to 63 bytes from where the descriptor stands. */
const char *read_text(__wasi_fd_t fd);
void write_text(__wasi_fd_t fd, const char *text);
