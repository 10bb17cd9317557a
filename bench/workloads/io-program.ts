/**
 * A small program in C that reads and writes and says how long that took, linked statically so that it runs in any root.
 *
 *   io MODE FILE BYTES BLOCK     prints the nanoseconds that MODE took over BYTES in pieces of BLOCK
 *
 * Modes: `write` and `rewrite` (in order; the latter an existing file), `random-write`; `read`, `random-read`, `map` and
 * `random-map` (each page touched once through a mapping); `first-write` (open, write one block in the middle, close);
 * `create` (BYTES is the number of files, each of BLOCK bytes, in the folder FILE). `direct-` before a mode goes past the page cache.
 */
export const IO_SOURCE = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
static int fail(const char *what) { perror(what); return 1; }

/* Goes through all pieces once, in an order that no read-ahead can foresee: the step has no factor in common with the count. */
static long next(long at, long count) { return (at + 514229) % count; }

static int create(const char *folder, long count, long block, const char *data) {
  char name[32];
  if (mkdir(folder, 0755) || chdir(folder)) return fail(folder);
  for (long i = 0; i < count; i++) {
    sprintf(name, "file-%ld", i);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0 || write(fd, data, block) != block || close(fd)) return fail(name);
  }
  return 0;
}

static int map(int fd, long count, long block, int random) {
  volatile char seen;
  char *at = mmap(0, count * block, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return fail("mmap");
  if (random) madvise(at, count * block, MADV_RANDOM);
  for (long i = 0, piece = 0; i < count; i++, piece = random ? next(piece, count) : i) seen = at[piece * block];
  (void)seen;
  return munmap(at, count * block);
}

static int transfer(int fd, long count, long block, int random, int writes, char *data) {
  for (long i = 0, piece = 0; i < count; i++, piece = random ? next(piece, count) : i) {
    *(long *)data = piece;
    long done = writes ? pwrite(fd, data, block, piece * block) : pread(fd, data, block, piece * block);
    if (done != block) return fail(writes ? "pwrite" : "pread");
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const char *mode = argv[1];
  int direct = !strncmp(mode, "direct-", 7) ? O_DIRECT : 0;
  if (direct) mode += 7;
  long bytes = atol(argv[3]), block = atol(argv[4]), count = bytes / block;
  char *data = aligned_alloc(4096, (block + 4095) & ~4095L);
  unsigned long noise = 88172645463325252UL;
  for (long i = 0; i + 8 <= block; i += 8) {
    noise ^= noise << 13; noise ^= noise >> 7; noise ^= noise << 17;
    memcpy(data + i, &noise, 8);
  }
  int random = !strncmp(mode, "random-", 7), failed;
  int first = !strcmp(mode, "first-write"), writes = first || strstr(mode, "write") != 0;
  long long started = now();
  if (!strcmp(mode, "create")) failed = create(argv[2], bytes, block, data);
  else {
    int fd = open(argv[2], direct | (writes ? O_RDWR : O_RDONLY) | (!strcmp(mode, "write") ? O_CREAT | O_TRUNC : 0), 0644);
    if (fd < 0) return fail(argv[2]);
    if (first) failed = pwrite(fd, data, block, bytes / 2) != block;
    else if (strstr(mode, "map")) failed = map(fd, count, block, random);
    else failed = transfer(fd, count, block, random, writes, data);
    if (close(fd)) failed = fail("close");
  }
  long long ended = now();
  if (!failed) printf("%lld\\n", ended - started);
  return failed;
}
`;
