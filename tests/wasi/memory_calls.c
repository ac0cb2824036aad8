/* What calls do with the guest's memory, and files that are more than one read or write. */
#include "wasi_test.h"

enum { PAGE = 65536 };

static void memory_that_grew(void)
{
    /* a call before, so that the host has seen the memory as it was */
    __wasi_fd_t fd = make_file("file", "abcdef");
    uint8_t *fresh = (uint8_t *)(__builtin_wasm_memory_grow(0, 2) * PAGE);
    __wasi_iovec_t *buffer = (__wasi_iovec_t *)(fresh + PAGE);
    *buffer = (__wasi_iovec_t){fresh, 3};
    __wasi_size_t *size = (__wasi_size_t *)(fresh + PAGE + 16);
    OK(__wasi_fd_read(fd, buffer, 1, size));
    EXPECT(*size == 3 && !memcmp(fresh, "abc", 3));
    uint8_t *last = (uint8_t *)(__builtin_wasm_memory_grow(0, 1) * PAGE) + PAGE - sizeof(__wasi_filesize_t);
    OK(__wasi_fd_tell(fd, (__wasi_filesize_t *)last));
    EXPECT(*(__wasi_filesize_t *)last == 3);
    char *name = (char *)(__builtin_wasm_memory_grow(0, 1) * PAGE);
    strcpy(name, "file");
    EXPECT(!strcmp(read_text(open_at(name, 0, 0)), "abcdef"));
}

static void memory_in_pieces(void)
{
    char one[2] = {0}, two[3] = {0}, three[8] = {0};
    __wasi_ciovec_t parts[] = {{(const uint8_t *)"ab", 2}, {NULL, 0}, {(const uint8_t *)"cdef", 4}};
    __wasi_iovec_t buffers[] = {{(uint8_t *)one, 1}, {(uint8_t *)two, 2}, {(uint8_t *)three, 7}};
    __wasi_size_t size;
    __wasi_fd_t fd = make_file("file", "");
    OK(__wasi_fd_pwrite(fd, parts, 3, 1, &size));
    EXPECT(size == 6);
    OK(__wasi_fd_pread(fd, buffers, 3, 1, &size));
    EXPECT(size == 6 && !strcmp(one, "a") && !strcmp(two, "bc") && !strcmp(three, "def"));
    OK(__wasi_fd_read(fd, buffers, 0, &size));
    EXPECT(size == 0);
}

static void memory_at_the_end(void)
{
    /* said by the test: the guest is stopped */
    __wasi_size_t *beyond = (__wasi_size_t *)(__builtin_wasm_memory_size(0) * PAGE - 2);
    __wasi_iovec_t buffer = {NULL, 0};
    printf("asking\n");
    fflush(stdout);
    OK(__wasi_fd_read(make_file("file", "abc"), &buffer, 1, beyond));
}

static void buffer_beyond_the_end(void)
{
    __wasi_size_t size;
    __wasi_iovec_t buffer = {NULL, 0xFFFFFFFF};
    printf("asking\n");
    fflush(stdout);
    OK(__wasi_fd_read(make_file("file", "abc"), &buffer, 1, &size));
}

static void large_file(void)
{
    enum { SIZE = 1 << 20 };
    uint8_t *content = malloc(SIZE), *read = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        content[i] = (uint8_t)(i * 31 + i / 4096);
    __wasi_fd_t fd = make_file("file", "");
    __wasi_size_t size;
    for (__wasi_size_t done = 0; done < SIZE; done += size) {
        __wasi_ciovec_t rest = {content + done, SIZE - done};
        OK(__wasi_fd_write(fd, &rest, 1, &size));
    }
    __wasi_filesize_t position;
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &position));
    for (__wasi_size_t done = 0; done < SIZE; done += size) {
        __wasi_iovec_t rest = {read + done, SIZE - done};
        OK(__wasi_fd_read(fd, &rest, 1, &size));
        EXPECT(size > 0);
    }
    EXPECT(!memcmp(content, read, SIZE));
}

static void append_moves_to_the_end(void)
{
    __wasi_filesize_t position;
    OK(__wasi_fd_close(make_file("file", "abc")));
    __wasi_fd_t fd = open_at("file", 0, __WASI_FDFLAGS_APPEND);
    EXPECT(!strcmp(read_text(fd), "abc"));
    OK(__wasi_fd_seek(fd, 1, __WASI_WHENCE_SET, &position));
    write_text(fd, "def");
    OK(__wasi_fd_tell(fd, &position));
    EXPECT(position == 6);
}

static void lowest_descriptor(void)
{
    __wasi_fd_t first = make_file("one", ""), second = make_file("two", "");
    EXPECT(second == first + 1);
    OK(__wasi_fd_close(second));
    OK(__wasi_fd_close(first));
    EXPECT(make_file("three", "") == first);
    EXPECT(make_file("four", "") == second);
    EXPECT(make_file("five", "") == second + 1);
}

static void listing_in_pieces(void)
{
    /* the test made 300 files called file0 to file299 */
    static uint8_t buffer[100], seen[300];
    __wasi_dircookie_t cookie = 0, second = 0;
    __wasi_size_t size = sizeof buffer;
    int entries = 0, again = 0;
    while (size == sizeof buffer) {
        OK(__wasi_fd_readdir(FOLDER, buffer, sizeof buffer, cookie, &size));
        __wasi_dirent_t entry;
        for (__wasi_size_t at = 0; at + sizeof entry <= size; at += sizeof entry + entry.d_namlen) {
            memcpy(&entry, buffer + at, sizeof entry);
            if (at + sizeof entry + entry.d_namlen > size)
                break;
            cookie = entry.d_next;
            char name[16] = {0};
            memcpy(name, buffer + at + sizeof entry, entry.d_namlen);
            if (!strncmp(name, "file", 4)) {
                EXPECT(entry.d_type == __WASI_FILETYPE_REGULAR_FILE && entry.d_ino != 0);
                EXPECT(!seen[atoi(name + 4)]++);
            }
            if (++entries == 2)
                second = cookie;
        }
    }
    EXPECT(entries == 302);
    static uint8_t rest[300 * (sizeof(__wasi_dirent_t) + 7) + 1];
    OK(__wasi_fd_readdir(FOLDER, rest, sizeof rest, second, &size)); /* once more, from the middle */
    for (__wasi_size_t at = 0; at < size; again++) {
        __wasi_dirent_t entry;
        memcpy(&entry, rest + at, sizeof entry);
        at += sizeof entry + entry.d_namlen;
    }
    EXPECT(again == 300);
}

static void fifo(void)
{
    __wasi_filestat_t stat;
    __wasi_fdstat_t fdstat;
    __wasi_filesize_t position;
    __wasi_fd_t fd;
    OK(__wasi_path_filestat_get(FOLDER, 0, "fifo", &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_UNKNOWN); /* preview 1 has no word for it */
    printf("ready\n");
    fflush(stdout);
    OK(__wasi_path_open(FOLDER, 0, "fifo", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd)); /* waits for a writer */
    OK(__wasi_fd_fdstat_get(fd, &fdstat));
    EXPECT(!(fdstat.fs_rights_base & __WASI_RIGHTS_FD_SEEK));
    EXPECT_ERRNO(__wasi_fd_seek(fd, 0, __WASI_WHENCE_CUR, &position), SPIPE);
    EXPECT(!strcmp(read_text(fd), "through the fifo"));
    EXPECT(!strcmp(read_text(fd), ""));
}

const struct call memory_calls[] = {
    {"memory_that_grew", memory_that_grew},
    {"memory_in_pieces", memory_in_pieces},
    {"memory_at_the_end", memory_at_the_end},
    {"buffer_beyond_the_end", buffer_beyond_the_end},
    {"large_file", large_file},
    {"append_moves_to_the_end", append_moves_to_the_end},
    {"lowest_descriptor", lowest_descriptor},
    {"listing_in_pieces", listing_in_pieces},
    {"fifo", fifo},
    {NULL, NULL},
};
