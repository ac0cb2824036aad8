/* A hostile process in a container: looks into every other process that it sees, over and over, and prints what it
 * got hold of when that was not one of the programs given as arguments. At SIGTERM it prints how often it was
 * refused, and ends. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const OPENED[] = {"exe", "mem", "environ", "maps"};
static const char *const READ[] = {"root", "cwd", "ns/mnt", "fd/0", "fd/3", "fd/4", "fd/5", "fd/6", "fd/7", "fd/8"};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define MAX_EXPECTED 8

static struct stat expected[MAX_EXPECTED];
static int expected_count;
static long refusals;
static volatile sig_atomic_t over;

static void end(int number)
{
    (void)number;
    over = 1;
}

static void note(const char *pid, const char *what)
{
    char path[64], target[256] = "";
    snprintf(path, sizeof path, "/proc/%s/%s", pid, what);
    if (readlink(path, target, sizeof target - 1) < 0)
        target[0] = 0;
    printf("%s of %s: %s\n", what, pid, target);
    fflush(stdout);
}

/* Whether a process runs one of the expected programs, or none any more: then it is nothing of the runtime's. */
static int is_expected(const char *pid)
{
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ESRCH;
    int known = fstat(fd, &found);
    for (int i = 0; i < expected_count; i++)
        known |= found.st_dev == expected[i].st_dev && found.st_ino == expected[i].st_ino;
    close(fd);
    return known;
}

static void judge(const char *pid, const char *what, int succeeded)
{
    if (succeeded) {
        if (!is_expected(pid))
            note(pid, what);
    } else if (errno == EACCES || errno == EPERM) {
        refusals++;
    }
}

static void look_into(const char *pid)
{
    char path[64], target[256];
    for (size_t i = 0; i < COUNT(OPENED); i++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, OPENED[i]);
        int fd = open(path, strcmp(OPENED[i], "mem") ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CLOEXEC);
        /* Of a process that has ended already these can be opened, but nothing is in them. */
        judge(pid, OPENED[i], fd >= 0 && read(fd, target, 1) != 0);
        if (fd >= 0)
            close(fd);
    }
    for (size_t i = 0; i < COUNT(READ); i++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, READ[i]);
        judge(pid, READ[i], readlink(path, target, sizeof target) > 0);
    }
    int traced = ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) == 0;
    judge(pid, "trace", traced);
    if (traced) {
        ptrace(PTRACE_INTERRUPT, atoi(pid), 0, 0); /* only who has stopped can be let go */
        waitpid(atoi(pid), NULL, __WALL);
        ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
    }
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count && expected_count < MAX_EXPECTED; i++)
        if (stat(arguments[i], &expected[expected_count]) == 0)
            expected_count++;
    signal(SIGTERM, end);
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 1;
    puts("looking");
    fflush(stdout);
    while (!over) {
        struct dirent *entry;
        rewinddir(proc);
        while ((entry = readdir(proc)) != NULL)
            if (isdigit((unsigned char)entry->d_name[0]) && atoi(entry->d_name) != getpid())
                look_into(entry->d_name);
    }
    printf("refused %ld\n", refusals);
    return 0;
}
