/* What is done by name, and that no name leads out of the folder. */
#include "wasi_test.h"

static void path_create_directory(void)
{
    OK(__wasi_path_create_directory(FOLDER, "new"));
    EXPECT_ERRNO(__wasi_path_create_directory(FOLDER, "new"), EXIST);
    EXPECT_ERRNO(__wasi_path_create_directory(FOLDER, "none/new"), NOENT);
    EXPECT_ERRNO(__wasi_path_create_directory(FOLDER, "../new"), PERM);
    EXPECT_ERRNO(__wasi_path_create_directory(FOLDER, "/new"), PERM);
}

static void path_open(void)
{
    __wasi_fd_t fd;
    OK(__wasi_fd_close(make_file("file", "abc")));
    EXPECT(!strcmp(read_text(open_at("file", 0, 0)), "abc"));
    EXPECT_ERRNO(__wasi_path_open(FOLDER, 0, "none", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd), NOENT);
    EXPECT_ERRNO(
        __wasi_path_open(
            FOLDER, 0, "file", __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd
        ),
        EXIST
    );
    EXPECT_ERRNO(
        __wasi_path_open(FOLDER, 0, "file", __WASI_OFLAGS_DIRECTORY, __WASI_RIGHTS_FD_READ, 0, 0, &fd), NOTDIR
    );
    EXPECT_ERRNO(__wasi_path_open(UNUSED_FD, 0, "file", 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd), BADF);
    EXPECT(!strcmp(read_text(open_at("file", __WASI_OFLAGS_TRUNC, 0)), ""));
    write_text(open_at("file", 0, __WASI_FDFLAGS_APPEND), "one");
    write_text(open_at("file", 0, __WASI_FDFLAGS_APPEND), "two");
    EXPECT(!strcmp(read_text(open_at("file", 0, 0)), "onetwo"));
}

static void no_way_out(void)
{
    /* the test put these links into the folder, and "secret" beside it */
    static const char *const paths[] = {
        "../secret", "/etc/passwd", "./../secret", "in/../../secret", "in/../../../../../etc/passwd",
        "absolute",  "relative",    "in/up/up/x",  "",
    };
    __wasi_fd_t fd;
    __wasi_filestat_t stat;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        EXPECT(
            __wasi_path_open(
                FOLDER, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, paths[i], 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd
            )
        );
        EXPECT(__wasi_path_filestat_get(FOLDER, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, paths[i], &stat));
    }
    OK(__wasi_path_open(FOLDER, 0, "in/../file", __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd));
}

static void links_in_the_root(void)
{
    /* the folder is the container's root, and the test put the links there */
    static const char *const paths[] = {
        "file", "absolute", "deep/absolute", "deep/up", "../file", "../../deep/../../file", "away/file", "deep/away/file",
    };
    static const __wasi_rights_t rights = __WASI_RIGHTS_FD_READ;
    uint8_t target[16] = {0};
    __wasi_size_t size;
    __wasi_filestat_t stat;
    __wasi_fd_t fd, deep;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        OK(__wasi_path_open(FOLDER, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, paths[i], 0, rights, 0, 0, &fd));
        EXPECT(!strcmp(read_text(fd), "inside"));
        OK(__wasi_path_filestat_get(FOLDER, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, paths[i], &stat));
        EXPECT(stat.size == strlen("inside"));
    }
    deep = open_at("deep", __WASI_OFLAGS_DIRECTORY, 0);
    for (size_t i = 0; i < 3; i++) {
        static const char *const from_there[] = {"absolute", "up", "../../file"};
        OK(__wasi_path_open(deep, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, from_there[i], 0, rights, 0, 0, &fd));
        EXPECT(!strcmp(read_text(fd), "inside"));
    }
    EXPECT_ERRNO(__wasi_path_open(FOLDER, 1, "secret", 0, rights, 0, 0, &fd), NOENT);
    EXPECT_ERRNO(__wasi_path_symlink("/file", deep, "../new"), PERM);
    OK(__wasi_path_readlink(FOLDER, "absolute", target, sizeof target, &size));
    EXPECT(!strcmp((char *)target, "/file"));
    OK(__wasi_path_create_directory(FOLDER, "away/made"));
    OK(__wasi_path_remove_directory(FOLDER, "made"));
    EXPECT_ERRNO(__wasi_path_open(FOLDER, 0, "/file", 0, rights, 0, 0, &fd), PERM);
}

static void path_filestat_get(void)
{
    __wasi_filestat_t stat;
    make_file("file", "abc");
    OK(__wasi_path_symlink("file", FOLDER, "link"));
    OK(__wasi_path_filestat_get(FOLDER, 0, "file", &stat));
    EXPECT(stat.size == 3 && stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
    OK(__wasi_path_filestat_get(FOLDER, 0, "link", &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
    OK(__wasi_path_filestat_get(FOLDER, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "link", &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_REGULAR_FILE);
    EXPECT_ERRNO(__wasi_path_filestat_get(FOLDER, 0, "none", &stat), NOENT);
}

static void path_filestat_set_times(void)
{
    __wasi_filestat_t stat;
    make_file("file", "");
    OK(__wasi_path_filestat_set_times(
        FOLDER, 0, "file", 5000000000, 6000000000, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM
    ));
    OK(__wasi_path_filestat_get(FOLDER, 0, "file", &stat));
    EXPECT(stat.atim == 5000000000 && stat.mtim == 6000000000);
}

static void path_link(void)
{
    __wasi_filestat_t stat;
    make_file("file", "abc");
    OK(__wasi_path_link(FOLDER, 0, "file", FOLDER, "second"));
    OK(__wasi_path_filestat_get(FOLDER, 0, "second", &stat));
    EXPECT(stat.nlink == 2 && stat.size == 3);
    EXPECT_ERRNO(__wasi_path_link(FOLDER, 0, "file", FOLDER, "second"), EXIST);
    EXPECT_ERRNO(__wasi_path_link(FOLDER, 0, "none", FOLDER, "third"), NOENT);
}

static void path_readlink(void)
{
    uint8_t buffer[32] = {0};
    __wasi_size_t size;
    OK(__wasi_path_symlink("some/where", FOLDER, "link"));
    OK(__wasi_path_readlink(FOLDER, "link", buffer, sizeof buffer, &size));
    EXPECT(size == strlen("some/where") && !memcmp(buffer, "some/where", size));
    EXPECT_ERRNO(__wasi_path_readlink(FOLDER, "none", buffer, sizeof buffer, &size), NOENT);
    make_file("file", "");
    EXPECT_ERRNO(__wasi_path_readlink(FOLDER, "file", buffer, sizeof buffer, &size), INVAL);
}

static void path_remove_directory(void)
{
    OK(__wasi_path_create_directory(FOLDER, "empty"));
    OK(__wasi_path_create_directory(FOLDER, "full"));
    make_file("full/file", "");
    OK(__wasi_path_remove_directory(FOLDER, "empty"));
    EXPECT_ERRNO(__wasi_path_remove_directory(FOLDER, "empty"), NOENT);
    EXPECT_ERRNO(__wasi_path_remove_directory(FOLDER, "full"), NOTEMPTY);
    EXPECT_ERRNO(__wasi_path_remove_directory(FOLDER, "full/file"), NOTDIR);
}

static void path_rename(void)
{
    __wasi_filestat_t stat;
    make_file("old", "abc");
    make_file("other", "defghi");
    OK(__wasi_path_rename(FOLDER, "old", FOLDER, "other"));
    OK(__wasi_path_filestat_get(FOLDER, 0, "other", &stat));
    EXPECT(stat.size == 3);
    EXPECT_ERRNO(__wasi_path_rename(FOLDER, "old", FOLDER, "new"), NOENT);
    EXPECT_ERRNO(__wasi_path_rename(FOLDER, "other", FOLDER, "../new"), PERM);
}

static void path_symlink(void)
{
    __wasi_filestat_t stat;
    OK(__wasi_path_symlink("target", FOLDER, "link"));
    OK(__wasi_path_filestat_get(FOLDER, 0, "link", &stat));
    EXPECT(stat.filetype == __WASI_FILETYPE_SYMBOLIC_LINK);
    EXPECT_ERRNO(__wasi_path_symlink("target", FOLDER, "link"), EXIST);
    EXPECT_ERRNO(__wasi_path_symlink("/etc/passwd", FOLDER, "absolute"), PERM);
}

static void path_unlink_file(void)
{
    make_file("file", "");
    OK(__wasi_path_create_directory(FOLDER, "folder"));
    OK(__wasi_path_unlink_file(FOLDER, "file"));
    EXPECT_ERRNO(__wasi_path_unlink_file(FOLDER, "file"), NOENT);
    EXPECT_ERRNO(__wasi_path_unlink_file(FOLDER, "folder"), ISDIR);
}

const struct call path_calls[] = {
    {"path_create_directory", path_create_directory},
    {"path_open", path_open},
    {"no_way_out", no_way_out},
    {"links_in_the_root", links_in_the_root},
    {"path_filestat_get", path_filestat_get},
    {"path_filestat_set_times", path_filestat_set_times},
    {"path_link", path_link},
    {"path_readlink", path_readlink},
    {"path_remove_directory", path_remove_directory},
    {"path_rename", path_rename},
    {"path_symlink", path_symlink},
    {"path_unlink_file", path_unlink_file},
    {NULL, NULL},
};
