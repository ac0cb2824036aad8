// Counts primes by a sieve, again and again: memory and integers, no calls into the host until the end.
#include <stdio.h>
#include <string.h>

enum { LIMIT = 4000000, ROUNDS = 360 };

static char composite[LIMIT];

int main(void) {
    int primes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        memset(composite, 0, sizeof composite);
        primes = 0;
        for (int number = 2; number < LIMIT; number++) {
            if (composite[number])
                continue;
            primes++;
            for (long multiple = (long)number * number; multiple < LIMIT; multiple += number)
                composite[multiple] = 1;
        }
    }
    printf("%d\n", primes);
}
