/* Children for the guardian's tests. Every process writes "PID\n" to descriptor 3 when it is
 * ready and keeps that descriptor: end of file on its other end means that all are dead.
 *
 *   idle            waits
 *   busy            ignores every signal it can and spins
 *   exit CODE       leaves at once
 *   workers N       forks N workers that ignore SIGTERM, SIGHUP and SIGINT, and waits
 *   stray           forks a child that leaves the session, and waits
 *   careless        forks a parent that leaves the session, whose child stays in the group and
 *                   is never waited for */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void announce(void) {
    char line[32];
    int size = snprintf(line, sizeof line, "%d\n", (int)getpid());
    if (write(3, line, size) != size) _exit(3);
}

static void idle(void) {
    announce();
    for (;;) pause();
}

static void busy(void) {
    for (int number = 1; number < NSIG; number++) signal(number, SIG_IGN);
    announce();
    for (volatile unsigned long turns = 0;; turns++) {}
}

static void stubborn(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    idle();
}

static void leave_session(void) {
    if (setsid() < 0) _exit(4);
    idle();
}

static void leave_child_behind(void) {
    if (fork() == 0) idle();
    leave_session();
}

static void beget(int count, void (*life)(void)) {
    while (count-- > 0)
        if (fork() == 0) life();
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "idle";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(mode, "exit")) return number;
    if (!strcmp(mode, "busy")) busy();
    if (!strcmp(mode, "workers")) beget(number, stubborn);
    if (!strcmp(mode, "stray")) beget(1, leave_session);
    if (!strcmp(mode, "careless")) beget(1, leave_child_behind);
    idle();
}
