/* Prints all that a process was given, one "NAME VALUE" a line: what an allow-list of a container's process compares. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void print_file(const char *name, const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[size < 0 ? 0 : size] = 0;
    text[strcspn(text, "\n")] = 0;
    printf("%s %s\n", name, size < 0 ? "unreadable" : text);
}

static void print_descriptors(void)
{
    DIR *listing = opendir("/proc/self/fd");
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (*entry->d_name != '.' && atoi(entry->d_name) != dirfd(listing))
            printf("fd %s flags %x\n", entry->d_name, fcntl(atoi(entry->d_name), F_GETFD));
    if (listing)
        closedir(listing);
}

static void print_signals(void)
{
    sigset_t blocked, pending;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    sigpending(&pending);
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (!sigaction(number, NULL, &action) && action.sa_handler != SIG_DFL)
            printf("signal %d not default\n", number);
        if (sigismember(&blocked, number) == 1)
            printf("signal %d blocked\n", number);
        if (sigismember(&pending, number) == 1)
            printf("signal %d pending\n", number);
    }
}

static void print_limits(void)
{
    for (int number = 0; number < RLIM_NLIMITS; number++) {
        struct rlimit limit;
        if (!getrlimit(number, &limit))
            printf("limit %d %lld %lld\n", number, (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
}

static void print_status(void)
{
    static const char *const WANTED[] = {"Cap", "NoNewPrivs", "Seccomp", "Groups", "Uid", "Gid", "NSsid", "NSpgid", "Umask", "Threads"};
    char line[4096];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        for (size_t index = 0; index < sizeof WANTED / sizeof *WANTED; index++)
            if (!strncmp(line, WANTED[index], strlen(WANTED[index])))
                printf("status %s", line);
    if (status)
        fclose(status);
}

static void print_mappings(void)
{
    char line[4096], *slash;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if ((slash = strchr(line, '/')))
            printf("mapped %s", slash);
    if (maps)
        fclose(maps);
}

int main(int count, char **arguments)
{
    int death = -1, policy = sched_getscheduler(0);
    for (int index = 0; index < count; index++)
        printf("argument %s\n", arguments[index]);
    for (char **variable = environ; *variable; variable++)
        printf("variable %s\n", *variable);
    print_descriptors();
    print_signals();
    print_limits();
    print_status();
    print_mappings();
    prctl(PR_GET_PDEATHSIG, &death);
    printf("death-signal %d\n", death);
    printf("securebits %d\n", prctl(PR_GET_SECUREBITS));
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
    printf("keepcaps %d\n", prctl(PR_GET_KEEPCAPS));
    printf("subreaper %d\n", (prctl(PR_GET_CHILD_SUBREAPER, &death), death));
    printf("timer-slack %d\n", prctl(PR_GET_TIMERSLACK));
    printf("thp-disabled %d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    printf("scheduler %d nice %d io %ld\n", policy, getpriority(PRIO_PROCESS, 0), syscall(SYS_ioprio_get, 1, 0));
    printf("personality %x\n", personality(0xffffffff));
    printf("session %d group %d parent %d\n", getsid(0) == getpid(), getpgrp() == getpid(), getppid());
    print_file("oom", "/proc/self/oom_score_adj");
    print_file("coredump-filter", "/proc/self/coredump_filter");
    print_file("cgroup", "/proc/self/cgroup");
    char keyring[256] = "none";
    long key = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
    if (key > 0)
        syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, keyring, sizeof keyring);
    printf("keyring %s\n", strrchr(keyring, ';') ? strrchr(keyring, ';') + 1 : keyring);
    fflush(stdout);
    return 0;
}
