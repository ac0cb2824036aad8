/* Walks everything below the folders that it is given, and prints what opens: "read PATH", "write PATH" or "both PATH".
 *
 * walker [-x FOLDER]... FOLDER...: folders after -x are not entered. Links are tried, not followed into folders. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[8192];
static const char *skipped[16];
static int skips;
static unsigned long tried;

static int is_skipped(void)
{
    for (int index = 0; index < skips; index++)
        if (!strcmp(path, skipped[index]))
            return 1;
    return 0;
}

static int opens(int mode)
{
    int fd = open(path, mode | O_NONBLOCK);
    if (fd < 0)
        return 0;
    close(fd);
    return 1;
}

static void try(void)
{
    int reads = opens(O_RDONLY), writes = opens(O_WRONLY);
    tried++;
    if (reads || writes)
        printf("%s %s\n", reads && writes ? "both" : reads ? "read" : "write", path);
}

static void walk(int depth)
{
    struct stat found;
    size_t length = strlen(path);
    DIR *listing;
    if (is_skipped())
        return;
    try();
    if (lstat(path, &found) || !S_ISDIR(found.st_mode) || depth == 30 || !(listing = opendir(path)))
        return;
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(path + length, sizeof path - length, "/%s", entry->d_name);
        walk(depth + 1);
        path[length] = 0;
    }
    closedir(listing);
}

int main(int count, char **arguments)
{
    for (int index = 1; index < count; index++) {
        if (!strcmp(arguments[index], "-x")) {
            skipped[skips++] = arguments[++index];
            continue;
        }
        snprintf(path, sizeof path, "%s", arguments[index]);
        walk(0);
    }
    printf("tried %lu\n", tried);
    return 0;
}
