/* The demo workload: small commands that show what a wasm container can do. Each line goes out when it is said,
 * and a command that comes to its end says "exiting". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct command {
    const char *name;
    const char *arguments;
    int fewest;
    int (*run)(int count, char **arguments);
};

static const char *const song[] = {
    "A module came sailing, so small and so light,",
    "no disk and no kernel, it started all right.",
    "It brought its own memory, asked for a door,",
    "it got a preopen and nothing more.",
    "So sing for the sandbox, and sing it once more:",
    "the container is running, whatever it's for!",
};

static int echo(int count, char **arguments)
{
    for (int i = 0; i < count; i++)
        printf("%s%s", i ? " " : "", arguments[i]);
    printf("\n");
    return 0;
}

static int sleep_for(int count, char **arguments)
{
    (void)count;
    double seconds = atof(arguments[0]);
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    nanosleep(&time, NULL);
    return 0;
}

static int exit_with(int count, char **arguments)
{
    (void)count;
    exit(atoi(arguments[0]));
}

static int write_file(int count, char **arguments)
{
    FILE *file = fopen(arguments[0], "w");
    if (!file) {
        fprintf(stderr, "cannot write %s: %s\n", arguments[0], strerror(errno));
        return 1;
    }
    for (int i = 1; i < count; i++)
        fprintf(file, "%s%s", i > 1 ? " " : "", arguments[i]);
    if (fclose(file)) {
        fprintf(stderr, "cannot write %s: %s\n", arguments[0], strerror(errno));
        return 1;
    }
    return 0;
}

static int sing(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    for (size_t line = 0;; line = (line + 1) % (sizeof song / sizeof *song)) {
        printf("%s\n", song[line]);
        sleep(1);
    }
}

static const struct command commands[] = {
    {"echo", "TEXT…", 0, echo},
    {"sleep", "SECONDS", 1, sleep_for},
    {"exit", "STATUS", 1, exit_with},
    {"write", "FILE TEXT…", 1, write_file},
    {"daemon", "(also without any command)", 0, sing},
};

static int usage(const char *what, const char *name)
{
    fprintf(stderr, "%s %s; the commands are:\n", what, name);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(stderr, "  %s %s\n", commands[i].name, commands[i].arguments);
    return 1;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (argc < 2)
        return sing(0, NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        if (argc - 2 < commands[i].fewest)
            return usage("too few arguments for", argv[1]);
        int status = commands[i].run(argc - 2, argv + 2);
        printf("exiting\n");
        return status;
    }
    return usage("unknown command", argv[1]);
}
