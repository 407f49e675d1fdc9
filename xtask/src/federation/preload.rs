//! Faults of the operating system for one process: a small preloaded library that sets its wall clock off and makes its
//! syncs fail, as a file tells it while the process runs, and notes what was synced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::power::{self, Lost};
use crate::chance::Random;
use crate::failure::Failure;
use crate::run::run;

/// The library. It notes the synced lengths of files for [`power`]. Two numbers of eight bytes are mapped: milliseconds that are added to wall-clock time (monotonic time is
/// left alone, as it is when somebody sets a machine's clock), and whether syncs fail.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct control { int64_t offset; int64_t failing; };
static volatile struct control *control;
static int notes = -1;

__attribute__((constructor)) static void begin(void) {
    const char *noted = getenv("ALYS_SYNCED");
    if (noted) notes = open(noted, O_WRONLY | O_APPEND | O_CLOEXEC);
    const char *path = getenv("ALYS_FAULTS");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof(struct control), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) control = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && control) {
        int64_t offset = control->offset;
        int64_t nanos = time->tv_nsec + (offset % 1000) * 1000000;
        time->tv_sec += offset / 1000 + (nanos < 0 ? -1 : nanos / 1000000000);
        time->tv_nsec = (nanos < 0 ? nanos + 1000000000 : nanos) % 1000000000;
    }
    return result;
}

static void note(const struct stat *file, uint64_t length) {
    int before = errno;
    uint64_t numbers[3] = { file->st_dev, file->st_ino, length };
    if (notes >= 0 && write(notes, numbers, sizeof numbers) != sizeof numbers) abort();
    errno = before;
}

static int synced(const char *name, int file) {
    if (control && control->failing) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = notes >= 0 && fstat(file, &before) == 0 && S_ISREG(before.st_mode);
    int result = real(file);
    if (result == 0 && known) note(&before, before.st_size);
    return result;
}

/* A new file may have the inode of one that was synced and removed. */
static int opened(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    int file = real(path, flags, mode);
    struct stat now;
    if (notes >= 0 && file >= 0 && (flags & (O_CREAT | O_TRUNC)) && fstat(file, &now) == 0 && S_ISREG(now.st_mode)
        && now.st_size == 0)
        note(&now, 0);
    return file;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return opened(#name, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

/* As on a file system that gives no room in advance: then a full disk is full at the next byte. */
int fallocate(int file, int mode, off_t from, off_t length) {
    errno = EOPNOTSUPP;
    return -1;
}

int fsync(int file) { return synced("fsync", file); }
int fdatasync(int file) { return synced("fdatasync", file); }
"#;

/// The compiled library and one node's controls.
pub(super) struct Preload {
    library: PathBuf,
    control: PathBuf,
    notes: PathBuf,
    data: PathBuf,
}

/// Compiles the library into `folder`.
pub(super) fn compile(folder: &Path) -> Result<PathBuf, Failure> {
    let (source, library) = (folder.join("faults.c"), folder.join("faults.so"));
    fs::write(&source, SOURCE).map_err(|error| Failure::file("write", &source, &error))?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
    run(&mut compile)?;
    Ok(library)
}

impl Preload {
    /// The right time, and syncs that work, for a node whose files are in `data`.
    pub(super) fn new(library: PathBuf, control: PathBuf, data: PathBuf) -> Result<Self, Failure> {
        fs::write(&control, [0; 16]).map_err(|error| Failure::file("write", &control, &error))?;
        let notes = control.with_extension("synced");
        Ok(Self { library, control, notes, data })
    }

    /// Makes a process run with the library.
    pub(super) fn apply(&self, command: &mut Command) -> Result<(), Failure> {
        power::on(&self.data, &self.notes)?;
        command.env("LD_PRELOAD", &self.library).env("ALYS_FAULTS", &self.control).env("ALYS_SYNCED", &self.notes);
        Ok(())
    }

    /// Takes from the files what was not synced.
    pub(super) fn lose_unsynced(&self, random: &mut Random) -> Result<Lost, Failure> {
        power::cut(&self.data, &self.notes, random)
    }

    /// Sets the clock so many milliseconds ahead (or behind).
    pub(super) fn set_clock(&self, millis: i64) -> Result<(), Failure> {
        self.set(0, millis)
    }

    /// Lets syncs fail, or work again.
    pub(super) fn fail_syncs(&self, failing: bool) -> Result<(), Failure> {
        self.set(8, i64::from(failing))
    }

    /// Sets a number in the file. The file keeps its length: it is mapped.
    fn set(&self, place: u64, number: i64) -> Result<(), Failure> {
        use std::os::unix::fs::FileExt as _;
        let write =
            || fs::OpenOptions::new().write(true).open(&self.control)?.write_all_at(&number.to_ne_bytes(), place);
        write().map_err(|error| Failure::file("write", &self.control, &error))
    }
}
