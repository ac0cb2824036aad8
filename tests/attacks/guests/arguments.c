/* Every call of WASI preview 1 with every bad argument; wasi_arguments.py says how, and fills in the calls.
 *
 * A guest that lost the folder it works in ends with status 75, and is begun anew after that call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

typedef long long i64;
enum sort { ACCEPTED, REFUSED, WILD };
enum { STDOUT = 1, MOST_OPEN = 64, LOST = 75, PAGE = 65536 };

struct value {
    enum sort sort;
    i64 words[3];
};

struct call {
    const char *name, *kinds;
    int (*make)(const i64 *);
};

/* CALLS */

static struct value table[128][24];
static int sizes[128];
static char room[4 * PAGE], long_name[5000];
static struct {
    int start, size;
} vectors[2048];
static __wasi_subscription_t subscriptions[1025];
static __wasi_event_t events[1025];
static unsigned end;
static __wasi_fd_t FOLDER;

static void add(char kind, enum sort sort, i64 first, i64 second, i64 third)
{
    struct value *value = &table[(int)kind][sizes[(int)kind]++];
    *value = (struct value){sort, {first, second, third}};
}

static void add_path(enum sort sort, const char *path)
{
    add('t', sort, (int)path, strlen(path), 0);
}

static void add_vector(enum sort sort, int start, int size)
{
    static int used = 1100;
    vectors[used].start = start;
    vectors[used].size = size;
    add('v', sort, (int)&vectors[used++], 1, 0);
}

static void fill_descriptors(i64 file)
{
    sizes['f'] = 0;
    add('f', ACCEPTED, file, 0, 0);
    add('f', ACCEPTED, FOLDER, 0, 0);
    add('f', ACCEPTED, 0, 0, 0);
    add('f', ACCEPTED, 2, 0, 0);
    add('f', REFUSED, -1, 0, 0);
    add('f', REFUSED, 1000, 0, 0);
    add('f', REFUSED, 0x7fffffff, 0, 0);
}

static void fill_paths(void)
{
    static const char *const INSIDE[] = {"file", ".", "file/", "dir/", "dir/../file", "new", "new/", "dir/./", "\xff\xfe"};
    static const char *const OUTSIDE[] = {
        "", "..", "../secret", "/", "/etc/passwd", "dir/../..", "/proc/self/mem", "up", "up/secret", "proc/self/mem",
    };
    for (size_t index = 0; index < sizeof INSIDE / sizeof *INSIDE; index++)
        add_path(ACCEPTED, INSIDE[index]);
    for (size_t index = 0; index < sizeof OUTSIDE / sizeof *OUTSIDE; index++)
        add_path(strcmp(OUTSIDE[index], "up") ? REFUSED : ACCEPTED, OUTSIDE[index]);
    memset(long_name, 'a', sizeof long_name);
    add('t', REFUSED, (int)long_name, sizeof long_name, 0);
    add('t', REFUSED, (int)"file\0x", 6, 0);
    add('t', WILD, end, 4, 0);
    add('t', WILD, end - 1, 2, 0);
    add('t', WILD, (int)"file", 0xffffffff, 0);
}

static void fill_vectors(void)
{
    add_vector(ACCEPTED, (int)room, 16);
    add_vector(ACCEPTED, (int)room, 0);
    add_vector(ACCEPTED, end - 1, 1);
    add('v', ACCEPTED, (int)vectors, 0, 0);
    add('v', ACCEPTED, (int)vectors, 1025, 0); /* empty buffers, more than IOV_MAX */
    add('v', ACCEPTED, (int)&vectors[1090] + 2, 1, 0);
    vectors[1050].start = vectors[1051].start = (int)&vectors[1050]; /* buffers that are their own description */
    vectors[1050].size = vectors[1051].size = 16;
    add('v', ACCEPTED, (int)&vectors[1050], 2, 0);
    add_vector(WILD, end, 1);
    add_vector(WILD, end - 1, 2);
    add_vector(WILD, (int)room, 0x80000000);
    add_vector(WILD, (int)room, 0xffffffff);
    add_vector(WILD, 0xffffffff, 0xffffffff);
    add('v', WILD, end - 1, 1, 0);
    add('v', WILD, (int)vectors, 0x80000000, 0);
    add('v', WILD, (int)vectors, 0xffffffff, 0);
}

static void fill(void)
{
    static const i64 OFFSETS[] = {0, 1, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0x8000000000000000, -1};
    static const int FLAGS[] = {0, 1, 2, 8, 0xffff, 0x7fffffff, -1};
    end = __builtin_wasm_memory_size(0) * PAGE;
    fill_paths();
    fill_vectors();
    for (size_t index = 0; index < sizeof OFFSETS / sizeof *OFFSETS; index++)
        add('o', ACCEPTED, OFFSETS[index], 0, 0);
    for (size_t index = 0; index < sizeof FLAGS / sizeof *FLAGS; index++)
        add('g', ACCEPTED, FLAGS[index], 0, 0);
    add('p', ACCEPTED, (int)room, 0, 0);
    add('p', ACCEPTED, (int)room + 3, 0, 0);
    add('p', WILD, end, 0, 0);
    add('p', WILD, end - 1, 0, 0);
    add('p', WILD, 0xffffffff, 0, 0);
    add('b', ACCEPTED, (int)room, 4096, 0);
    add('b', ACCEPTED, (int)room, 0, 0);
    add('b', ACCEPTED, (int)room, 1, 0);
    add('b', ACCEPTED, end - 1, 1, 0);
    add('b', WILD, end, 4096, 0);
    add('b', WILD, end - 1, 4096, 0);
    add('b', WILD, (int)room, 0x80000000, 0);
    add('b', WILD, (int)room, 0xffffffff, 0);
    add('s', ACCEPTED, (int)subscriptions, (int)events, 1);
    add('s', ACCEPTED, (int)subscriptions, (int)events, 0);
    add('s', ACCEPTED, (int)subscriptions, (int)events, 1025);
    add('s', ACCEPTED, (int)subscriptions, (int)subscriptions, 1);
    add('s', WILD, end - 1, (int)events, 1);
    add('s', WILD, (int)subscriptions, end - 1, 1);
    add('s', WILD, (int)subscriptions, (int)events, 0xffffffff);
}

/* Make what a call works on anew, and give its file's descriptor. */
static __wasi_fd_t prepare(void)
{
    __wasi_fd_t file;
    __wasi_filestat_t stat;
    if (__wasi_fd_filestat_get(FOLDER, &stat) || stat.filetype != __WASI_FILETYPE_DIRECTORY)
        exit(LOST);
    for (__wasi_fd_t fd = FOLDER + 1; fd < MOST_OPEN; fd++)
        if (__wasi_fd_close(fd))
            break;
    (void)__wasi_path_create_directory(FOLDER, "dir");
    if (__wasi_path_open(FOLDER, 0, "file", __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_WRITE, 0, 0, &file))
        exit(LOST);
    return file;
}

static void say(const char *text, size_t size)
{
    __wasi_ciovec_t part = {(const uint8_t *)text, size};
    __wasi_size_t written;
    if (__wasi_fd_write(STDOUT, &part, 1, &written))
        abort();
}

static void make(const struct call *call, const int *chosen)
{
    static long number, first = -1;
    enum sort sort = ACCEPTED;
    i64 words[16];
    int used = 0;
    char text[64], letters[16] = {0};
    extern char **arguments;
    if (first < 0)
        first = atol(arguments[1]);
    if (number++ < first)
        return;
    fill_descriptors(prepare());
    for (int at = 0; call->kinds[at]; at++) {
        const struct value *value = &table[(int)call->kinds[at]][chosen[at]];
        letters[at] = 'a' + chosen[at];
        int width = strchr("tvb", call->kinds[at]) ? 2 : call->kinds[at] == 's' ? 3 : 1;
        memcpy(words + used, value->words, width * sizeof *words);
        used += width;
        if (value->sort > sort)
            sort = value->sort;
    }
    say(text, snprintf(text, sizeof text, "%ld %s %s %d", number - 1, call->name, letters, sort));
    say(text, snprintf(text, sizeof text, " %d\n", call->make(words)));
}

static int is_wild(char kind, int choice)
{
    return table[(int)kind][choice].sort == WILD;
}

static void make_all(const struct call *call)
{
    int chosen[16] = {0}, count = strlen(call->kinds);
    make(call, chosen);
    for (int one = 0; one < count; one++)
        for (int value = 1; value < sizes[(int)call->kinds[one]]; value++) {
            chosen[one] = value;
            make(call, chosen);
            for (int other = one + 1; other < count && !is_wild(call->kinds[one], value); other++)
                for (int second = 1; second < sizes[(int)call->kinds[other]]; second++) {
                    chosen[other] = second;
                    if (!is_wild(call->kinds[other], second))
                        make(call, chosen);
                    chosen[other] = 0;
                }
            chosen[one] = 0;
        }
}

char **arguments;

/* Find the folder /work, which some engines give after others of their own, and some below their own root. */
static void find_folder(void)
{
    static const char WANTED[] = "/work"; /* or without the slash */
    __wasi_rights_t all = (1 << 29) - 1; /* but those that make some engines take it for a file */
    __wasi_rights_t writing = __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_ALLOCATE | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE;
    __wasi_prestat_t prestat;
    for (FOLDER = 3; !__wasi_fd_prestat_get(FOLDER, &prestat); FOLDER++) {
        char name[256] = {0};
        size_t size = prestat.u.dir.pr_name_len;
        if (size < sizeof name && !__wasi_fd_prestat_dir_name(FOLDER, (uint8_t *)name, size) && !strcmp(name + (*name != '/' ? 0 : 1), WANTED + 1))
            return;
    }
    if (__wasi_path_open(3, 0, WANTED + 1, __WASI_OFLAGS_DIRECTORY, all & ~writing, all, 0, &FOLDER))
        exit(LOST + 1);
}

int main(int count, char **given)
{
    if (count != 2)
        return 2;
    arguments = given;
    find_folder();
    fill_descriptors(FOLDER);
    fill();
    for (size_t index = 0; index < sizeof CALLS / sizeof *CALLS; index++)
        make_all(&CALLS[index]);
    return 0;
}
