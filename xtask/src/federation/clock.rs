//! A wall clock that can be set for one process: a small preloaded library that adds an offset to what the system says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::run::run;

/// The library. The offset in milliseconds is eight bytes of a file that is mapped, so that it changes while the process
/// runs; monotonic time is left alone, as it is when somebody sets a machine's clock.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ALYS_CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) offset = page;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && offset) {
        int64_t nanos = time->tv_nsec + (*offset % 1000) * 1000000;
        time->tv_sec += *offset / 1000 + (nanos < 0 ? -1 : nanos / 1000000000);
        time->tv_nsec = (nanos < 0 ? nanos + 1000000000 : nanos) % 1000000000;
    }
    return result;
}
"#;

/// The compiled library and a node's offset.
pub(super) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

/// Compiles the library into `folder`.
pub(super) fn compile(folder: &Path) -> Result<PathBuf, Failure> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SOURCE).map_err(|error| Failure::file("write", &source, &error))?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
    run(&mut compile)?;
    Ok(library)
}

impl Clock {
    /// A clock that shows the right time.
    pub(super) fn new(library: PathBuf, offset: PathBuf) -> Result<Self, Failure> {
        let clock = Self { library, offset };
        fs::write(&clock.offset, 0i64.to_ne_bytes()).map_err(|error| Failure::file("write", &clock.offset, &error))?;
        Ok(clock)
    }

    pub(super) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("ALYS_CLOCK_OFFSET", &self.offset);
    }

    /// Sets the clock so many milliseconds ahead (or behind). The file keeps its length: it is mapped.
    pub(super) fn set(&self, millis: i64) -> Result<(), Failure> {
        use std::io::Write as _;
        let write = || fs::OpenOptions::new().write(true).open(&self.offset)?.write_all(&millis.to_ne_bytes());
        write().map_err(|error| Failure::file("write", &self.offset, &error))
    }
}
