/* The node installer's one program: it calls on_node.py, tries again what failed, and obeys signals at once.
 *
 *     node-installer install    returns when runwasi is installed, however many attempts that takes
 *     node-installer stay       waits for the pod's end
 *
 * At the pod's end both take runwasi away again if the node has lost its label; on_node.py knows. It must not be
 * kubelet that tries again: it can start no container while containerd is down. This is C and static, for the image
 * has no files but the bundle, and what waits on every node should be small.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PYTHON "/bundle/version/python"
#define INTERPRETER PYTHON "/bin/python3"

enum { LONGEST_PAUSE = 60 }; /* seconds between two attempts */

static sigset_t ending; /* the signals by which a pod is ended */

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "node-installer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static pid_t start(char *step, const sigset_t *blocked)
{
    char *command[] = {PYTHON "/lib/ld.so", "--library-path", PYTHON "/lib", "--argv0", INTERPRETER,
                       INTERPRETER,         "-ISB",           "/on_node.py", step,      NULL};
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child > 0) {
        setpgid(child, child); /* a signal to the group reaches what it starts, too */
        return child;
    }
    setpgid(0, 0);
    sigprocmask(SIG_UNBLOCK, blocked, NULL);
    execv(command[0], command);
    fail(command[0]);
}

/* Do a step once; return 1 if it has succeeded, 0 if not, and -1 if one of the signals came first. */
static int attempt(char *step, const sigset_t *signals)
{
    sigset_t awaited = *signals;
    sigaddset(&awaited, SIGCHLD);
    pid_t child = start(step, &awaited);
    int status;
    for (;;) {
        int number = sigwaitinfo(&awaited, NULL);
        if (number < 0 && errno != EINTR)
            fail("sigwaitinfo");
        if (number > 0 && number != SIGCHLD) {
            kill(-child, SIGTERM);
            waitpid(child, &status, 0);
            return -1;
        }
        if (number == SIGCHLD && waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
}

/* Do a step until it succeeds; return 0 if one of the signals comes before that. */
static int insist(char *step, const sigset_t *signals)
{
    struct timespec pause = {.tv_sec = 1};
    for (;;) {
        int done = attempt(step, signals);
        if (done != 0)
            return done > 0;
        fprintf(stderr, "node-installer: %s has failed, and is tried again in %d s\n", step, (int)pause.tv_sec);
        if (sigtimedwait(signals, NULL, &pause) > 0)
            return 0;
        pause.tv_sec = pause.tv_sec * 2 > LONGEST_PAUSE ? LONGEST_PAUSE : pause.tv_sec * 2;
    }
}

int main(int argc, char **argv)
{
    char *word = argc == 2 ? argv[1] : "";
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    blocked = ending;
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    if (strcmp(word, "install") == 0) {
        if (insist("install", &ending))
            return 0;
    } else if (strcmp(word, "stay") == 0) {
        while (sigwaitinfo(&ending, NULL) < 0 && errno == EINTR) /* as after SIGSTOP and SIGCONT */
            ;
    } else {
        fputs("usage: node-installer install|stay\n", stderr);
        return 2;
    }
    insist("leave", &none); /* kubelet's SIGKILL ends that if need be; a second SIGTERM changes nothing */
    return 0;
}
