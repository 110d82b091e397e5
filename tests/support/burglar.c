/* A tenant's program that tries what a tenant must not be able to do.
 *
 *   burglar UID PID...
 *
 * It tries to become root and to become UID, to get capabilities, and to read, trace, signal and
 * rob each process. Every attempt is one line, "WHAT TARGET RESULT": "yes", or the error. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const unsigned capability_version = 0x20080522; /* _LINUX_CAPABILITY_VERSION_3 */

static void tell(const char *what, long target, long result) {
    const char *reason = result >= 0 ? "yes" : strerrorname_np(errno);
    printf("%s %ld %s\n", what, target, reason ? reason : "?");
    fflush(stdout);
}

static void become(long uid) {
    gid_t groups[1] = {(gid_t)uid};
    tell("setgroups", uid, setgroups(1, groups));
    tell("setresgid", uid, setresgid(uid, uid, uid));
    tell("setegid", uid, setegid(uid));
    tell("setresuid", uid, setresuid(uid, uid, uid));
    tell("seteuid", uid, seteuid(uid));
}

static void gain(int capability) {
    unsigned header[2] = {capability_version, 0};
    unsigned bits = 1u << capability;
    unsigned sets[6] = {bits, bits, bits, 0, 0, 0};
    tell("capset", capability, syscall(SYS_capset, header, sets));
    tell("ambient", capability, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
}

static void look(long pid, const char *name, int flags) {
    char path[64], what[32];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    snprintf(what, sizeof what, "open-%s", name);
    int file = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    tell(what, pid, file);
    if (file >= 0) close(file);
}

static void rob(long pid) {
    char data[16], path[64];
    struct iovec here = {data, sizeof data}, there = {(void *)0x400000, sizeof data};

    tell("trace", pid, ptrace(PTRACE_SEIZE, pid, 0, 0));
    tell("attach", pid, ptrace(PTRACE_ATTACH, pid, 0, 0));
    ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);
    tell("memory", pid, got < 0 && errno == EFAULT ? 0 : got);
    look(pid, "mem", O_RDWR);
    look(pid, "environ", O_RDONLY);
    look(pid, "maps", O_RDONLY);
    look(pid, "oom_score_adj", O_WRONLY);
    snprintf(path, sizeof path, "/proc/%ld/fd", pid);
    DIR *descriptors = opendir(path);
    tell("descriptors", pid, descriptors ? 0 : -1);
    if (descriptors) closedir(descriptors);
    int handle = syscall(SYS_pidfd_open, pid, 0);
    for (int number = 0; handle >= 0 && number < 12; number++)
        tell("steal", pid, syscall(SYS_pidfd_getfd, handle, number, 0));
}

static void harm(long pid) {
    struct rlimit limit = {0, 0};
    struct sched_param idle = {0};
    tell("limit", pid, prlimit(pid, RLIMIT_CPU, &limit, NULL));
    tell("schedule", pid, sched_setscheduler(pid, SCHED_IDLE, &idle));
    tell("stop", pid, kill(pid, SIGSTOP));
    tell("kill-group", pid, kill(-pid, SIGKILL));
    tell("kill", pid, kill(pid, SIGKILL));
}

int main(int count, char **words) {
    if (count < 2) return 2;
    for (int index = 2; index < count; index++)
        if (atol(words[index]) < 2) return 2; /* kill(-1) would mean everybody */
    become(0);
    become(atol(words[1]));
    gain(6); /* setgid */
    gain(7); /* setuid */
    for (int index = 2; index < count; index++) {
        rob(atol(words[index]));
        harm(atol(words[index]));
    }
    puts("done");
    return 0;
}
