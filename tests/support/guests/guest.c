/* A guest whose first argument says what it does. It says "ready" on stdout before anything that takes long. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int count_down(int from)
{
    if (from == 0)
        __builtin_trap();
    return count_down(from - 1) + 1;
}

__attribute__((noinline)) static int overflow(volatile char *above)
{
    volatile char here[4096];
    here[0] = *above;
    return *above == 1 ? 0 : overflow(here) + here[0];
}

static int show(const char *path)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        return 1;
    }
    for (size_t size; (size = fread(text, 1, sizeof text, file)) > 0;)
        fwrite(text, 1, size, stdout);
    return 0;
}

static int grow(void)
{
    for (int mebibytes = 0;; mebibytes++) {
        char *volatile more = malloc(1 << 20);
        if (!more) {
            printf("full at %d MiB\n", mebibytes);
            return 3;
        }
        memset(more, 1, 1 << 20);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "hello";
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (!strcmp(what, "hello"))
        printf("hello\n");
    else if (!strcmp(what, "args"))
        for (int i = 0; i < argc; i++)
            printf("%s\n", argv[i]);
    else if (!strcmp(what, "env"))
        for (char **variable = environ; *variable; variable++)
            printf("%s\n", *variable);
    else if (!strcmp(what, "stderr"))
        fprintf(stderr, "to stderr\n");
    else if (!strcmp(what, "stdin"))
        for (int c; (c = getchar()) != EOF;)
            putchar(c);
    else if (!strcmp(what, "cat"))
        return show(argv[2]);
    else if (!strcmp(what, "write")) {
        FILE *file = fopen(argv[2], "w");
        if (!file) {
            perror(argv[2]);
            return 1;
        }
        fputs(argv[3], file);
        return fclose(file) ? 1 : 0;
    } else if (!strcmp(what, "exit"))
        exit(atoi(argv[2]));
    else if (!strcmp(what, "trap"))
        return count_down(3);
    else if (!strcmp(what, "overflow"))
        return overflow("");
    else if (!strcmp(what, "grow"))
        return grow();
    else if (!strcmp(what, "open-many")) {
        int opened = 0;
        while (fopen(argv[2], "r"))
            opened++;
        printf("opened %d\n", opened);
    } else {
        printf("ready\n");
        if (!strcmp(what, "spin"))
            for (volatile unsigned i = 0;; i++)
                ;
        else if (!strcmp(what, "sleep"))
            sleep(1000);
        else if (!strcmp(what, "read"))
            getchar();
    }
    return 0;
}

__attribute__((export_name("other"))) int other(void)
{
    printf("other was called\n");
    return 5;
}

__attribute__((export_name("add"))) int add(int a, int b)
{
    return a + b;
}
