//! Faults of the operating system for one process: a small preloaded library that sets its wall clock off and makes its
//! syncs fail, as a file tells it while the process runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::run::run;

/// The library. Two numbers of eight bytes are mapped: milliseconds that are added to wall-clock time (monotonic time is
/// left alone, as it is when somebody sets a machine's clock), and whether syncs fail.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct control { int64_t offset; int64_t failing; };
static volatile struct control *control;

__attribute__((constructor)) static void begin(void) {
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

static int synced(const char *name, int file) {
    if (control && control->failing) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(file);
}

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
    /// The right time, and syncs that work.
    pub(super) fn new(library: PathBuf, control: PathBuf) -> Result<Self, Failure> {
        fs::write(&control, [0; 16]).map_err(|error| Failure::file("write", &control, &error))?;
        Ok(Self { library, control })
    }

    pub(super) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("ALYS_FAULTS", &self.control);
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
