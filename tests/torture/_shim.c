/* Stands between a process and its files: preloaded, it sees every system call that changes one below a folder.
 *
 * It tells of each call in a stream (a pipe to another process), and makes one of them fail or kills the process in
 * the middle of it.  Acknowledgements go through the same stream, so their order among the calls is known.
 *
 * Not seen: writes through mmap (SQLite makes none without shared memory) and through io_uring.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { ANY = 0, SYNC = 1, WRITE = 2 };
enum { FAIL_ONCE = 0, FAIL_ON = 1, DIE = 2 };
enum { ROOM_OF_A_RESERVE = 60, SECTOR = 512 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_size;
static int stream = -1;
static int fault_kind, fault_mode, fault_error;
static long fault_at, calls;
static int ready;

static void put(const void *data, size_t size) {
    while (size > 0) {
        ssize_t done = syscall(SYS_write, stream, data, size);
        if (done < 0) {
            if (errno == EINTR) continue;
            return;
        }
        data = (const char *)data + done;
        size -= done;
    }
}

static void tell(char kind, const char *path, int64_t number, const void *data, size_t size) {
    if (stream < 0) return;
    int saved = errno;
    struct __attribute__((packed)) {
        char kind;
        int64_t number;
        uint32_t path, data;
    } head = {kind, number, (uint32_t)strlen(path), (uint32_t)size};
    pthread_mutex_lock(&lock);
    put(&head, sizeof head);
    put(path, head.path);
    put(data, size);
    pthread_mutex_unlock(&lock);
    errno = saved;
}

/* ---- for the tests */

void lab_watch(const char *path, int fd) {
    strncpy(folder, path, sizeof folder - 1);
    folder_size = strlen(folder);
    stream = fd;
    ready = 1;
}

/* From the at-th call on, counted from the first one of the process that the shim watches; 0 is never. */
void lab_arm(int kind, int mode, int error, long at) {
    fault_kind = kind, fault_mode = mode, fault_error = error, fault_at = at;
}

long lab_calls(void) { return calls; }

void lab_tell(const char *text) { tell('A', "", 0, text, strlen(text)); }

/* ---- what is watched */

static int is_watched(int fd, char *path) {
    if (!ready) return 0;
    char link[64] = "/proc/self/fd/";
    char digits[16];
    int length = 0, saved = errno;
    do digits[length++] = '0' + fd % 10;
    while (fd /= 10);
    size_t at = strlen(link);
    while (length) link[at++] = digits[--length];
    link[at] = 0;
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    errno = saved;
    if (size < 0) return 0;
    path[size] = 0;
    return strncmp(path, folder, folder_size) == 0;
}

/* 1 if this call has to fail; does not come back if the process has to die first. */
static int is_faulty(int kind) {
    if (fault_kind != ANY && fault_kind != kind) return 0;
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (fault_at <= 0) return 0;
    if (fault_mode == FAIL_ON) return number >= fault_at;
    return number == fault_at;
}

static int fail(const char *path) {
    if (fault_mode == DIE) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    tell('F', path, fault_error, "", 0);
    errno = fault_error;
    return -1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t partly(ssize_t (*real)(int, const void *, size_t, off64_t), int fd, const void *data, size_t size,
                      off64_t offset, const char *path) {
    /* A full disk and a dying process leave half of what was being written, but no half sector. */
    if (size > SECTOR && (fault_mode == DIE || fault_mode == FAIL_ON)) real(fd, data, size / 2, offset);
    return fail(path);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t size, off64_t offset) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!is_watched(fd, path)) return real(fd, data, size, offset); \
        if (is_faulty(WRITE)) return partly((void *)real, fd, data, size, offset, path); \
        tell('W', path, offset, data, size); \
        return real(fd, data, size, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[PATH_MAX];
    if (!is_watched(fd, path)) return real(fd, data, size);
    if (is_faulty(WRITE)) return fail(path);
    off_t at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    tell('W', path, at, data, size);
    return real(fd, data, size);
}

#define TRUNCATE(name) \
    int name(int fd, off64_t size) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!is_watched(fd, path)) return real(fd, size); \
        if (is_faulty(WRITE)) return fail(path); \
        tell('T', path, size, "", 0); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ALLOCATE(name) \
    int name(int fd, off64_t offset, off64_t size) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (is_watched(fd, path) && is_faulty(WRITE)) { \
            fail(path); \
            return fault_error; \
        } \
        return real(fd, offset, size); \
    }
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)

#define SYNCING(name) \
    int name(int fd) { \
        REAL(name); \
        char path[PATH_MAX]; \
        if (!is_watched(fd, path)) return real(fd); \
        if (is_faulty(SYNC)) return fail(path); \
        tell('B', path, 0, "", 0); \
        int result = real(fd); \
        if (result == 0) tell('S', path, 0, "", 0); \
        return result; \
    }
SYNCING(fsync)
SYNCING(fdatasync)

#define OPEN(name) \
    int name(const char *file, int flags, ...) { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        int is_new = ready && (flags & O_CREAT) && access(file, F_OK) != 0; \
        int fd = real(file, flags, mode); \
        char path[PATH_MAX]; \
        if (fd >= 0 && (is_new || flags & O_TRUNC) && is_watched(fd, path)) { \
            if (is_new) tell('C', path, 0, "", 0); \
            else tell('T', path, 0, "", 0); \
        } \
        return fd; \
    }
OPEN(open)
OPEN(open64)

int unlink(const char *file) {
    REAL(unlink);
    if (ready && strncmp(file, folder, folder_size) == 0) {
        if (fault_kind == ANY && is_faulty(ANY)) return fail(file);
        /* On a full disk, what a reserve gave up is room for some more writes. */
        size_t size = strlen(file);
        if (fault_mode == FAIL_ON && fault_at > 0 && size > 8 && !strcmp(file + size - 8, ".reserve") &&
            access(file, F_OK) == 0)
            fault_at = calls + ROOM_OF_A_RESERVE;
        tell('U', file, 0, "", 0);
    }
    return real(file);
}
