/* What is done with an open file or folder. */
#include "wasi_test.h"

static void fd_prestat_get(void)
{
    __wasi_prestat_t prestat;
    OK(__wasi_fd_prestat_get(FOLDER, &prestat));
    EXPECT(prestat.tag == __WASI_PREOPENTYPE_DIR);
    EXPECT(prestat.u.dir.pr_name_len == strlen("/"));
    EXPECT_ERRNO(__wasi_fd_prestat_get(FOLDER + 1, &prestat), BADF);
}

static void fd_prestat_dir_name(void)
{
    uint8_t name[8] = {0};
    OK(__wasi_fd_prestat_dir_name(FOLDER, name, 1));
    EXPECT(!strcmp((char *)name, "/"));
}

static void fd_close(void)
{
    __wasi_fd_t fd = make_file("file", "");
    OK(__wasi_fd_close(fd));
    EXPECT_ERRNO(__wasi_fd_close(fd), BADF);
    EXPECT_ERRNO(__wasi_fd_close(UNUSED_FD), BADF);
}

static void fd_read(void)
{
    char first[3] = {0}, second[8] = {0};
    __wasi_iovec_t buffers[] = {{(uint8_t *)first, 2}, {(uint8_t *)second, 7}};
    __wasi_size_t size;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(__wasi_fd_read(fd, buffers, 2, &size));
    while (size < 6) { /* a short read is allowed */
        __wasi_iovec_t rest = {size < 2 ? (uint8_t *)first + size : (uint8_t *)second + size - 2, 6 - size};
        __wasi_size_t more;
        OK(__wasi_fd_read(fd, &rest, 1, &more));
        EXPECT(more > 0);
        size += more;
    }
    EXPECT(!strcmp(first, "ab") && !strcmp(second, "cdef"));
    EXPECT(!strcmp(read_text(fd), ""));
    EXPECT_ERRNO(__wasi_fd_read(UNUSED_FD, buffers, 2, &size), BADF);
}

static void fd_write(void)
{
    __wasi_ciovec_t buffers[] = {{(const uint8_t *)"one", 3}, {(const uint8_t *)"two", 3}};
    __wasi_size_t size, more;
    __wasi_filesize_t position;
    __wasi_fd_t fd = make_file("file", "");
    OK(__wasi_fd_write(fd, buffers, 2, &size));
    if (size == 3) { /* a short write is allowed */
        OK(__wasi_fd_write(fd, buffers + 1, 1, &more));
        size += more;
    }
    EXPECT(size == 6);
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &position));
    EXPECT(!strcmp(read_text(fd), "onetwo"));
    EXPECT_ERRNO(__wasi_fd_write(UNUSED_FD, buffers, 2, &size), BADF);
}

static void fd_pread(void)
{
    char text[4] = {0};
    __wasi_iovec_t buffer = {(uint8_t *)text, 3};
    __wasi_size_t size;
    __wasi_filesize_t position;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(__wasi_fd_pread(fd, &buffer, 1, 2, &size));
    EXPECT(size == 3 && !strcmp(text, "cde"));
    OK(__wasi_fd_tell(fd, &position));
    EXPECT(position == 0);
}

static void fd_pwrite(void)
{
    __wasi_ciovec_t buffer = {(const uint8_t *)"XY", 2};
    __wasi_size_t size;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(__wasi_fd_pwrite(fd, &buffer, 1, 2, &size));
    EXPECT(size == 2 && !strcmp(read_text(fd), "abXYef"));
}

static void fd_seek(void)
{
    __wasi_filesize_t position;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(__wasi_fd_seek(fd, 4, __WASI_WHENCE_SET, &position));
    EXPECT(position == 4);
    OK(__wasi_fd_seek(fd, -3, __WASI_WHENCE_CUR, &position));
    EXPECT(position == 1);
    OK(__wasi_fd_seek(fd, -1, __WASI_WHENCE_END, &position));
    EXPECT(position == 5 && !strcmp(read_text(fd), "f"));
    EXPECT_ERRNO(__wasi_fd_seek(fd, -1, __WASI_WHENCE_SET, &position), INVAL);
}

static void fd_tell(void)
{
    __wasi_filesize_t position;
    __wasi_fd_t fd = make_file("file", "");
    write_text(fd, "abc");
    OK(__wasi_fd_tell(fd, &position));
    EXPECT(position == 3);
}

static void fd_sync(void)
{
    OK(__wasi_fd_sync(make_file("file", "x")));
    EXPECT_ERRNO(__wasi_fd_sync(UNUSED_FD), BADF);
}

static void fd_datasync(void)
{
    OK(__wasi_fd_datasync(make_file("file", "x")));
    EXPECT_ERRNO(__wasi_fd_datasync(UNUSED_FD), BADF);
}

static void fd_advise(void)
{
    __wasi_fd_t fd = make_file("file", "abc");
    OK(__wasi_fd_advise(fd, 0, 3, __WASI_ADVICE_SEQUENTIAL));
    OK(__wasi_fd_advise(fd, 0, 0, __WASI_ADVICE_DONTNEED));
    EXPECT_ERRNO(__wasi_fd_advise(UNUSED_FD, 0, 3, __WASI_ADVICE_NORMAL), BADF);
}

static void fd_allocate(void)
{
    /* preview 1 lets a host refuse it, and hosts do: there is no such call in preview 2 */
    __wasi_filestat_t stat;
    __wasi_fd_t fd = make_file("file", "abc");
    __wasi_errno_t result = __wasi_fd_allocate(fd, 0, 100);
    EXPECT(result == __WASI_ERRNO_SUCCESS || result == __WASI_ERRNO_NOTSUP);
    OK(__wasi_fd_filestat_get(fd, &stat));
    EXPECT(stat.size == (result == __WASI_ERRNO_SUCCESS ? 100 : 3));
}

static void fd_fdstat_get(void)
{
    __wasi_fdstat_t stat;
    OK(__wasi_fd_fdstat_get(FOLDER, &stat));
    EXPECT(stat.fs_filetype == __WASI_FILETYPE_DIRECTORY);
    EXPECT(stat.fs_rights_base & __WASI_RIGHTS_PATH_OPEN);
    OK(__wasi_fd_fdstat_get(open_at("file", __WASI_OFLAGS_CREAT, __WASI_FDFLAGS_APPEND), &stat));
    EXPECT(stat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE);
    EXPECT(stat.fs_flags & __WASI_FDFLAGS_APPEND);
}

static void fd_fdstat_set_flags(void)
{
    __wasi_fdstat_t stat;
    __wasi_filesize_t position;
    __wasi_fd_t fd = make_file("file", "abc");
    OK(__wasi_fd_fdstat_set_flags(fd, __WASI_FDFLAGS_APPEND));
    OK(__wasi_fd_fdstat_get(fd, &stat));
    EXPECT(stat.fs_flags & __WASI_FDFLAGS_APPEND);
    write_text(fd, "d");
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &position));
    EXPECT(!strcmp(read_text(fd), "abcd"));
}

static void fd_fdstat_set_rights(void)
{
    /* rights were taken out of preview 1's hosts: reducing them is accepted or refused, never anything else */
    __wasi_fd_t fd = make_file("file", "abc");
    __wasi_errno_t result = __wasi_fd_fdstat_set_rights(fd, __WASI_RIGHTS_FD_READ, 0);
    EXPECT(result == __WASI_ERRNO_SUCCESS || result == __WASI_ERRNO_NOTSUP);
}

static void fd_filestat_get(void)
{
    __wasi_filestat_t stat;
    OK(__wasi_fd_filestat_get(make_file("file", "abc"), &stat));
    EXPECT(stat.size == 3 && stat.nlink == 1 && stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
    EXPECT(stat.mtim > 1700000000ull * 1000000000ull);
    OK(__wasi_fd_filestat_get(FOLDER, &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_DIRECTORY);
}

static void fd_filestat_set_size(void)
{
    __wasi_filestat_t stat;
    __wasi_fd_t fd = make_file("file", "abcdef");
    OK(__wasi_fd_filestat_set_size(fd, 2));
    EXPECT(!strcmp(read_text(fd), "ab"));
    OK(__wasi_fd_filestat_set_size(fd, 1000));
    OK(__wasi_fd_filestat_get(fd, &stat));
    EXPECT(stat.size == 1000);
}

static void fd_filestat_set_times(void)
{
    __wasi_filestat_t stat;
    __wasi_fd_t fd = make_file("file", "");
    OK(__wasi_fd_filestat_set_times(fd, 1000000000, 2000000000, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
    OK(__wasi_fd_filestat_get(fd, &stat));
    EXPECT(stat.atim == 1000000000 && stat.mtim == 2000000000);
    OK(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
    OK(__wasi_fd_filestat_get(fd, &stat));
    EXPECT(stat.atim == 1000000000 && stat.mtim > 1700000000ull * 1000000000ull);
    EXPECT_ERRNO(
        __wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), INVAL
    );
}

static void fd_readdir(void)
{
    uint8_t buffer[4096];
    __wasi_size_t size;
    int found = 0, entries = 0;
    make_file("one", "");
    OK(__wasi_path_create_directory(FOLDER, "two"));
    OK(__wasi_fd_readdir(FOLDER, buffer, sizeof buffer, 0, &size));
    EXPECT(size < sizeof buffer);
    for (__wasi_size_t at = 0; at + sizeof(__wasi_dirent_t) <= size; entries++) {
        __wasi_dirent_t entry;
        memcpy(&entry, buffer + at, sizeof entry);
        const char *name = (char *)buffer + at + sizeof entry;
        if (entry.d_namlen == 3 && !memcmp(name, "one", 3))
            found |= entry.d_type == __WASI_FILETYPE_REGULAR_FILE;
        if (entry.d_namlen == 3 && !memcmp(name, "two", 3))
            found |= 2 * (entry.d_type == __WASI_FILETYPE_DIRECTORY);
        at += sizeof entry + entry.d_namlen;
        if (entries == 0) { /* a cookie leads to the entry after its own */
            __wasi_size_t rest;
            uint8_t again[4096];
            OK(__wasi_fd_readdir(FOLDER, again, sizeof again, entry.d_next, &rest));
            EXPECT(rest == size - at);
        }
    }
    EXPECT(found == 3);
    EXPECT(entries == 4); /* with . and .. */
    OK(__wasi_fd_readdir(FOLDER, buffer, 10, 0, &size));
    EXPECT(size == 10); /* a buffer that is too small is filled: there is more */
}

static void fd_renumber(void)
{
    __wasi_fd_t from = make_file("from", "from"), to = make_file("to", "to");
    OK(__wasi_fd_renumber(from, to));
    EXPECT(!strcmp(read_text(to), "from"));
    EXPECT_ERRNO(__wasi_fd_close(from), BADF);
    EXPECT_ERRNO(__wasi_fd_renumber(UNUSED_FD, to), BADF);
}

const struct call descriptor_calls[] = {
    {"fd_prestat_get", fd_prestat_get},
    {"fd_prestat_dir_name", fd_prestat_dir_name},
    {"fd_close", fd_close},
    {"fd_read", fd_read},
    {"fd_write", fd_write},
    {"fd_pread", fd_pread},
    {"fd_pwrite", fd_pwrite},
    {"fd_seek", fd_seek},
    {"fd_tell", fd_tell},
    {"fd_sync", fd_sync},
    {"fd_datasync", fd_datasync},
    {"fd_advise", fd_advise},
    {"fd_allocate", fd_allocate},
    {"fd_fdstat_get", fd_fdstat_get},
    {"fd_fdstat_set_flags", fd_fdstat_set_flags},
    {"fd_fdstat_set_rights", fd_fdstat_set_rights},
    {"fd_filestat_get", fd_filestat_get},
    {"fd_filestat_set_size", fd_filestat_set_size},
    {"fd_filestat_set_times", fd_filestat_set_times},
    {"fd_readdir", fd_readdir},
    {"fd_renumber", fd_renumber},
    {NULL, NULL},
};
