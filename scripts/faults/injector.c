/* Run a command, and have one system call of one of its processes fail, or kill that process as it enters it.
 *
 *     injector REPORT PROCESS CALL ERRNO|kill|count MARK COMMAND...
 *     injector REPORT PROCESS CALL ERRNO|kill|count MARK --reload PID UNTIL
 *
 * Processes are counted in the order in which they are made, the command is 0; calls from 1. In the command itself
 * they are counted from the first that opens a path which contains MARK: what comes before is the interpreter's own
 * start. Threads are not counted: they are let go. A process that executes a program after its first is let go too.
 * On the descriptor REPORT: "count PROCESS CALLS" lines for `count`; else "hit PROCESS CALL NUMBER NAME-OF-PROCESS".
 * From the injection on nothing is traced, so that what follows takes its usual time. See ptrace(2).
 *
 * With --reload process 0 is one that runs already: it is sent SIGHUP, and its calls are counted from there, across all
 * that it executes, until it writes a text that contains UNTIL. Its children may execute programs too. A call of the
 * interpreter's own start, after an execution and before MARK, counts, but is reported as "start" instead of "hit".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef NT_ARM_SYSTEM_CALL
#define NT_ARM_SYSTEM_CALL 0x404
#endif

enum { PROCESSES = 4096, NOT_COUNTED = -1 };
enum { OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE
                 | PTRACE_O_TRACEEXEC };

struct process {
    pid_t pid;
    int order;   /* or NOT_COUNTED */
    long calls;  /* entered since the mark */
    int marked;
    int executed;
    int starting; /* an interpreter that has not come to our code */
    int failing; /* this call's result is to be replaced */
};

static struct process table[PROCESSES];
static int known, made;
static long wanted_process, wanted_call, wanted_errno;
static int counting, killing, injected, reloading, ended;
static const char *until;
static const char *mark;
static FILE *report;

static void die(const char *what) {
    fprintf(stderr, "injector: %s: %s\n", what, strerror(errno));
    exit(125);
}

static struct process *find(pid_t pid) {
    for (int i = known - 1; i >= 0; i--)
        if (table[i].pid == pid) return &table[i];
    return NULL;
}

static struct process *add(pid_t pid, int order) {
    struct process *process = &table[known];
    if (++known == PROCESSES) { errno = ENOSPC; die("too many processes"); }
    *process = (struct process){.pid = pid, .order = order, .marked = order != 0};
    return process;
}

static int is_thread(pid_t pid) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    int tgid = pid;
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Tgid: %d", &tgid) == 1) break;
    fclose(file);
    return tgid != pid;
}

/* Make the call that is entered one that does not exist. */
static void skip_call(pid_t pid) {
#if defined __x86_64__
    if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, orig_rax), -1L) < 0) die("skip");
#elif defined __aarch64__
    int none = -1;
    struct iovec part = {&none, sizeof none};
    if (ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &part) < 0) die("skip");
#else
#error "which register holds the number of a system call?"
#endif
}

static void answer_call(pid_t pid, long result) {
#if defined __x86_64__
    if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rax), result) < 0) die("answer");
#elif defined __aarch64__
    struct user_regs_struct registers;
    struct iovec part = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, pid, 1, &part) < 0) die("registers");
    registers.regs[0] = (unsigned long)result;
    if (ptrace(PTRACE_SETREGSET, pid, 1, &part) < 0) die("answer");
#endif
}

/* Whether the text at an address of the process, of no more than size bytes, contains a word. */
static int contains(pid_t pid, uint64_t address, size_t size, const char *word) {
    char text[4096] = "";
    if (size > sizeof text - 1) size = sizeof text - 1;
    struct iovec here = {text, size}, there = {(void *)(uintptr_t)address, size};
    for (; there.iov_len; there.iov_len /= 2, here.iov_len = there.iov_len) /* it may end before an unmapped page */
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) > 0) break;
    return strstr(text, word) != NULL;
}

static int opens_mark(pid_t pid, const struct __ptrace_syscall_info *call) {
    return call->entry.nr == SYS_openat && contains(pid, call->entry.args[1], SIZE_MAX, mark);
}

static int writes_end(pid_t pid, const struct __ptrace_syscall_info *call) {
    return call->entry.nr == SYS_write && contains(pid, call->entry.args[1], call->entry.args[2], until);
}

/* Calls that no kernel answers with an error: there is nothing to return to, or they cannot fail. brk says by an
 * unchanged break that it did, and the C library looks at nothing else; locks take no error of futex. A mask of
 * signals is only refused where it is no mask. */
static int answers_failure(long number) {
    static const long never[] = {SYS_exit,   SYS_exit_group, SYS_rt_sigreturn, SYS_restart_syscall, SYS_futex,  SYS_brk,
                                 SYS_getpid, SYS_gettid,     SYS_getppid,      SYS_getuid,          SYS_geteuid,
                                 SYS_getgid, SYS_getegid,    SYS_umask,  SYS_rt_sigprocmask};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (number == never[i]) return 0;
    return 1;
}

/* At a stop only. */
static void let_go(struct process *process, int number) {
    process->order = NOT_COUNTED;
    ptrace(PTRACE_DETACH, process->pid, 0, (long)number);
    process->pid = 0;
}

static void name_of(pid_t pid, char *name, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *file = fopen(path, "re");
    if (!file || !fgets(name, (int)size, file)) snprintf(name, size, "?");
    name[strcspn(name, "\n")] = 0;
    if (file) fclose(file);
}


static void inject(struct process *process, long number) {
    char name[64];
    name_of(process->pid, name, sizeof name);
    const char *word = process->starting ? "start" : "hit";
    if (!killing && !answers_failure(number)) {
        fprintf(report, "skipped %d %ld %ld %s\n", process->order, process->calls, number, name);
        fflush(report);
        injected = 1;
        return;
    }
    fprintf(report, "%s %d %ld %ld %s\n", word, process->order, process->calls, number, name);
    fflush(report);
    injected = 1;
    if (killing) kill(process->pid, SIGKILL);
    else {
        if (number != SYS_close) skip_call(process->pid); /* Linux closes first, and fails then: man 2 close */
        process->failing = 1;
    }
}

static void entered_or_left(struct process *process) {
    struct __ptrace_syscall_info call;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, process->pid, sizeof call, &call) <= 0) return;
    if (call.op == PTRACE_SYSCALL_INFO_EXIT) {
        if (process->failing) answer_call(process->pid, -wanted_errno);
        process->failing = 0;
        return;
    }
    if (call.op != PTRACE_SYSCALL_INFO_ENTRY) return;
    if (!process->marked && !(process->marked = opens_mark(process->pid, &call))) return;
    if (process->starting && opens_mark(process->pid, &call)) process->starting = 0;
    if (reloading && process->order == 0 && writes_end(process->pid, &call)) { ended = 1; return; }
    process->calls++;
    if (!counting && !injected && process->order == wanted_process && process->calls == wanted_call)
        inject(process, (long)call.entry.nr);
}

static void stopped(struct process *process, int status) {
    int number = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC && reloading) process->starting = 1;
    else if (event == PTRACE_EVENT_EXEC && (process->executed++ > 0 || process->order > 0)) { let_go(process, 0); return; }
    if (number == (SIGTRAP | 0x80)) entered_or_left(process);
    if (injected && !process->failing) { let_go(process, event || number == (SIGTRAP | 0x80) ? 0 : number); return; }
    if (event || number == (SIGTRAP | 0x80)) number = 0;
    if (reloading && number == SIGHUP) process->marked = 1;
    ptrace(PTRACE_SYSCALL, process->pid, 0, (long)number);
}

static void first_stop(pid_t pid) {
    struct process *process = find(pid);
    if (process) return;
    if (is_thread(pid)) { ptrace(PTRACE_DETACH, pid, 0, 0); return; }
    process = add(pid, ++made);
    if (injected) let_go(process, 0);
    else ptrace(PTRACE_SYSCALL, pid, 0, 0);
}

/* Stop a process, and watch it from now on. What it forks is seized too, so that our end leaves none of them stopped. */
static void seize(pid_t pid) {
    int status;
    if (ptrace(PTRACE_SEIZE, pid, 0, OPTIONS) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0) die("seize");
    if (waitpid(pid, &status, __WALL) < 0 || !WIFSTOPPED(status)) die("the process");
}

/* Run the command under our eyes; return its pid. */
static pid_t begin(char **command) {
    int seized[2];
    if (pipe2(seized, O_CLOEXEC) < 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        char word;
        close(fileno(report));
        if (read(seized[0], &word, 1) == 1) execvp(command[0], command);
        die(command[0]);
    }
    seize(pid);
    if (write(seized[1], "", 1) != 1) die("pipe");
    close(seized[0]);
    close(seized[1]);
    return pid;
}

/* Watch a process that runs, and have it reload; its calls count from when it takes the signal. */
static pid_t begin_reload(pid_t pid) {
    seize(pid);
    if (kill(pid, SIGHUP) < 0) die("SIGHUP");
    return pid;
}

/* Whether a call that was injected into has not been answered yet. */
static int is_failing(void) {
    for (int i = 0; i < known; i++)
        if (table[i].failing) return 1;
    return 0;
}

static int usage(void) {
    fprintf(stderr, "usage: injector REPORT PROCESS CALL ERRNO|kill|count MARK {COMMAND... | --reload PID UNTIL}\n");
    return 125;
}

int main(int count, char **words) {
    if (count < 7) return usage();
    wanted_process = atol(words[2]);
    wanted_call = atol(words[3]);
    counting = !strcmp(words[4], "count");
    killing = !strcmp(words[4], "kill");
    wanted_errno = atol(words[4]);
    mark = words[5];
    if (!(report = fdopen(atoi(words[1]), "w"))) die("the report");
    reloading = !strcmp(words[6], "--reload");
    if (reloading && count < 9) return usage();
    if (reloading) until = words[8];
    pid_t command = reloading ? begin_reload(atoi(words[7])) : begin(words + 6);
    int status, result = reloading ? 0 : 125;
    add(command, 0);
    ptrace(PTRACE_SYSCALL, command, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        struct process *process = find(pid);
        if (!WIFSTOPPED(status)) {
            if (pid == command) {
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                break; /* whoever lives on is let go by our end */
            }
            continue;
        }
        if (process) stopped(process, status);
        else first_stop(pid);
        if (reloading && (ended || (injected && !is_failing()))) break;
    }
    if (counting)
        for (int i = 0; i < known; i++)
            if (i == 0 || table[i].order != 0) fprintf(report, "count %d %ld\n", i, table[i].calls);
    return result;
}
