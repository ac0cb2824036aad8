/* Runs the test of the WASI call that the first argument names and says "passed". */
#include "wasi_test.h"

static const struct call *const groups[] = {
    process_calls, descriptor_calls, path_calls, poll_calls, memory_calls, unstable_calls,
};

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++) {
        for (const struct call *call = groups[group]; call->name; call++) {
            if (strcmp(call->name, argv[1]) == 0) {
                call->test();
                printf("passed\n");
                return 0;
            }
        }
    }
    printf("there is no test of %s\n", argv[1]);
    return 2;
}

__wasi_fd_t open_at(const char *path, __wasi_oflags_t how, __wasi_fdflags_t flags)
{
    __wasi_fd_t fd;
    __wasi_rights_t rights = ((uint64_t)1 << 30) - 1;
    if (how & __WASI_OFLAGS_DIRECTORY)
        rights &= ~(__WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE);
    OK(__wasi_path_open(FOLDER, 0, path, how, rights, rights, flags, &fd));
    return fd;
}

__wasi_fd_t make_file(const char *path, const char *content)
{
    __wasi_fd_t fd = open_at(path, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_TRUNC, 0);
    __wasi_filesize_t position;
    write_text(fd, content);
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &position));
    return fd;
}

const char *read_text(__wasi_fd_t fd)
{
    static char text[64];
    __wasi_iovec_t buffer = {(uint8_t *)text, sizeof text - 1};
    __wasi_size_t size;
    OK(__wasi_fd_read(fd, &buffer, 1, &size));
    text[size] = 0;
    return text;
}

void write_text(__wasi_fd_t fd, const char *text)
{
    __wasi_ciovec_t buffer = {(const uint8_t *)text, strlen(text)};
    __wasi_size_t size;
    OK(__wasi_fd_write(fd, &buffer, 1, &size));
    EXPECT(size == strlen(text));
}
