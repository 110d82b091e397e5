/* A trivial vassal: it speaks the Emperor protocol and does nothing else.
 *
 *   tiny --inherit emperor://NAME.ini     config read from UWSGI_EMPEROR_FD_CONFIG
 *   tiny --ini NAME.ini                   as uWSGI's Emperor starts a vassal of a directory
 *
 * Its standard input may be a listening socket, as of an on-demand vassal: whoever connects gets
 * its name, as HTTP has it. With TINY_CRASHING=PREFIX one whose name begins so dies at once.
 *
 * With TINY_LOG=FILE in the environment every event becomes one line of that file,
 * "MONOTONIC_NANOSECONDS EVENT NAME", written with a single append, so that thousands of
 * vassals can share the file and a reader can subtract times. Events: start, config (one for
 * each part), ready, reload, ask, answer, stop, graceful, lost, crash, refused. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STOP = 0, RELOAD = 1, GRACEFUL = 2 };              /* from the Emperor */
enum { SPAWNED = 1, ASK = 2, READY = 5, LOYAL = 17 };     /* to the Emperor */

static const int config_seconds = 5;
static int command = -1, config = -1, events = -1;
static const char *name = "-";

static void note(const char *event) {
    char line[512];
    struct timespec now;
    if (events < 0) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(line, sizeof line, "%lld %s %.400s\n",
                        now.tv_sec * 1000000000LL + now.tv_nsec, event, name);
    if (write(events, line, size) != size) _exit(3);
}

static void leave(const char *event, int status) {
    note(event);
    _exit(status);
}

static void say(unsigned char byte) {
    if (write(command, &byte, 1) != 1) leave("lost", 1);
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

static void read_exactly(char *into, size_t size, long deadline) {
    struct pollfd ready = {.fd = config, .events = POLLIN};
    while (size) {
        long left = deadline - milliseconds();
        if (left < 0 || poll(&ready, 1, (int)left) <= 0) leave("refused", 1);
        ssize_t got = read(config, into, size);
        if (got <= 0) leave("refused", 1);
        into += got;
        size -= got;
    }
}

/* Does the last line that is not empty say "inherit = emperor://..."? */
static int announces_more(char *body) {
    size_t end = strlen(body);
    while (end && strchr("\r\n \t", body[end - 1])) body[--end] = 0;
    char *line = strrchr(body, '\n');
    line = line ? line + 1 : body;
    line += strspn(line, " \t");
    if (strncmp(line, "inherit", 7)) return 0;
    line += 7 + strspn(line + 7, " \t");
    if (*line++ != '=') return 0;
    return !strncmp(line + strspn(line, " \t"), "emperor://", 10);
}

/* Parts of "modifier 115, length as 16 bits little endian, modifier 0" and a body each. */
static void read_config(void) {
    static char body[65536];
    unsigned char header[4];
    long deadline = milliseconds() + config_seconds * 1000L;
    do {
        read_exactly((char *)header, sizeof header, deadline);
        size_t size = header[1] | header[2] << 8;
        if (header[0] != 115 || header[3] != 0 || !size) leave("refused", 1);
        read_exactly(body, size, deadline);
        body[size] = 0;
        note("config");
    } while (announces_more(body));
}

static void reload(void) {
    note("reload");
    if (config >= 0) {
        say(ASK);
        note("ask");
        read_config();
    }
    note("ready");
    say(READY);     /* a real uWSGI sends SPAWNED once only, at its first start */
}

static int is_listening(int number) {
    int answer = 0;
    socklen_t size = sizeof answer;
    return !getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &answer, &size) && answer;
}

static void serve(int listening) {
    char text[1024];
    int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) return;
    note("answer");
    if (read(client, text, sizeof text) > 0) {
        int size = snprintf(text, sizeof text, "HTTP/1.0 200 OK\r\n\r\n%.400s", name);
        if (write(client, text, size) != size) note("lost");
    }
    close(client);
}

static void obey(void) {
    unsigned char byte;
    if (read(command, &byte, 1) != 1) leave("lost", 1);
    if (byte == STOP) leave("stop", 0);
    if (byte == GRACEFUL) leave("graceful", 0);
    if (byte == RELOAD) reload();
}

static int descriptor(const char *variable) {
    const char *value = getenv(variable);
    return value ? atoi(value) : -1;
}

int main(int argc, char **argv) {
    if (argc > 2) {
        const char *slash = strrchr(argv[2], '/');
        name = slash ? slash + 1 : argv[2];
    }
    if (getenv("TINY_LOG"))
        events = open(getenv("TINY_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    command = descriptor("UWSGI_EMPEROR_FD");
    config = descriptor("UWSGI_EMPEROR_FD_CONFIG");
    if (command < 0) leave("refused", 2);
    signal(SIGPIPE, SIG_IGN);   /* an Emperor that is gone is a failed write */
    note("start");
    if (config >= 0) read_config();
    const char *crashing = getenv("TINY_CRASHING");
    if (crashing && !strncmp(name, crashing, strlen(crashing))) leave("crash", 1);
    say(SPAWNED);
    note("ready");  /* before the byte: who has heard it can rely on the line */
    say(READY);
    say(LOYAL);
    struct pollfd ready[] = {
        {.fd = command, .events = POLLIN},
        {.fd = is_listening(0) ? 0 : -1, .events = POLLIN},
    };
    for (;;) {
        if (poll(ready, 2, -1) < 0) leave("lost", 1);
        if (ready[0].revents) obey();
        if (ready[1].revents) serve(0);
    }
}
