/* A vassal for stormy weather: what it does is in its config, and in the signals it gets.
 *
 *   storm --inherit emperor://NAME.ini
 *
 * temper = calm        speaks the protocol, and is loyal at once
 *          slow        takes a fifth of a second to be ready
 *          beating     sends a heartbeat every second
 *          forking     has a worker, which it does not stop when it goes
 *          stubborn    does not go when it is told to, nor at SIGTERM
 *          deaf        never reads its command socket
 *          crashing    dies as soon as it has read its config
 *
 * SIGUSR1: says two thousand bytes of nonsense. SIGUSR2: leaves of its own will. SIGHUP: asks
 * for its config. Whatever config it has, asked for or not, is in STORM_DIRECTORY/PID
 * before it says that it accepts requests. */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STOP = 0, RELOAD = 1, GRACEFUL = 2 };    /* from the Emperor */
enum { SPAWNED = 1, ASK = 2, READY = 5, LOYAL = 17, LEAVING = 22, BEAT = 26 };

enum { FLOOD_BYTES = 2000, BEAT_MILLISECONDS = 1000, SLOW_NANOSECONDS = 200000000 };

static int command = -1, config = -1;
static char text[65536 + 1];
static int has_worker, has_beaten;
static volatile sig_atomic_t floods, leaves, asks;

static void heard(int signum) {
    if (signum == SIGUSR1) floods = 1;
    if (signum == SIGUSR2) leaves = 1;
    if (signum == SIGHUP) asks = 1;
}

static void say(unsigned char byte) {
    if (write(command, &byte, 1) != 1) _exit(3);
    if (byte == BEAT) has_beaten = 1;
}

static int is(const char *temper) {
    char line[64];
    snprintf(line, sizeof line, "\ntemper = %s\n", temper);
    return strstr(text, line) != NULL;
}

static void read_exactly(char *into, size_t size) {
    while (size) {
        ssize_t got = read(config, into, size);
        if (got <= 0) _exit(3);
        into += got;
        size -= got;
    }
}

/* The config, for whoever wants to know which one it is. */
static void show(size_t size) {
    char path[4096], beside[4096 + 8];
    const char *directory = getenv("STORM_DIRECTORY");
    if (!directory) return;
    snprintf(path, sizeof path, "%s/%d", directory, getpid());
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "w");
    if (!file || fwrite(text, 1, size, file) != size || fclose(file)) _exit(4);
    if (rename(beside, path)) _exit(4);
}

static void employ(void) {
    if (has_worker) return;
    has_worker = 1;
    if (fork() == 0)
        for (;;) pause();
}

/* "Modifier 115, length as 16 bits little endian, modifier 0" and a body; all are short. */
static void take_config(void) {
    unsigned char header[4];
    read_exactly((char *)header, sizeof header);
    size_t size = header[1] | header[2] << 8;
    if (header[0] != 115 || header[3] != 0) _exit(4);
    read_exactly(text, size);
    text[size] = 0;
    show(size);
    if (is("crashing")) _exit(1);
    if (is("forking")) employ();
    signal(SIGTERM, is("stubborn") ? SIG_IGN : SIG_DFL);
    if (is("slow")) {
        struct timespec nap = {.tv_nsec = SLOW_NANOSECONDS};
        nanosleep(&nap, NULL);
    }
}

static void settle(void) {
    say(READY);
    say(LOYAL);
    if (is("beating")) say(BEAT);
}

/* All bytes but the one that means that it leaves; the same in every run. */
static void flood(void) {
    static unsigned state = 1;
    static unsigned char bytes[FLOOD_BYTES];
    for (const char *c = text; *c; c++) state = state * 31 + (unsigned char)*c;
    for (int i = 0; i < FLOOD_BYTES; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = state >> 24;
        if (bytes[i] == LEAVING) bytes[i] = LOYAL;
        if (bytes[i] == BEAT) has_beaten = 1;
    }
    for (size_t sent = 0; sent < sizeof bytes;) {
        ssize_t size = write(command, bytes + sent, sizeof bytes - sent);
        if (size <= 0) _exit(3);
        sent += size;
    }
    settle();
}

static void obey_signals(void) {
    if (floods) floods = 0, flood();
    if (asks) asks = 0, say(ASK);
    if (leaves) leaves = 0, say(LEAVING);
}

static void obey(void) {
    unsigned char byte;
    if (read(command, &byte, 1) != 1) _exit(3);
    if (byte == RELOAD) say(ASK);
    if ((byte == STOP || byte == GRACEFUL) && !is("stubborn")) _exit(0);
}

static int descriptor(const char *variable) {
    const char *value = getenv(variable);
    if (!value) _exit(2);
    return atoi(value);
}

int main(void) {
    sigset_t ours, before;
    const int handled[] = {SIGUSR1, SIGUSR2, SIGHUP};
    sigemptyset(&ours);
    for (int i = 0; i < 3; i++) sigaddset(&ours, handled[i]);
    sigprocmask(SIG_BLOCK, &ours, &before);     /* heard between two deeds only */
    for (int i = 0; i < 3; i++) {
        struct sigaction action = {.sa_handler = heard};
        sigaction(handled[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    command = descriptor("UWSGI_EMPEROR_FD");
    config = descriptor("UWSGI_EMPEROR_FD_CONFIG");
    take_config();
    say(SPAWNED);
    settle();
    for (;;) {
        struct pollfd ready[] = {
            {.fd = config, .events = POLLIN},
            {.fd = is("deaf") ? -1 : command, .events = POLLIN},
        };
        struct timespec pulse = {.tv_sec = BEAT_MILLISECONDS / 1000};
        int count = ppoll(ready, 2, has_beaten ? &pulse : NULL, &before);
        if (count == 0) say(BEAT);
        if (count > 0 && ready[0].revents) take_config(), settle();
        if (count > 0 && ready[1].revents) obey();
        obey_signals();
    }
}
