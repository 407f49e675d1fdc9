//! Processes that die while they write. Each test starts this binary again as the process to be killed.

mod support;

use alys_store::{Database, StoreConfig, StoreError};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{GENESIS, assert_chain, import, open};

const FOLDER: &str = "ALYS_STORE_TEST_FOLDER";

/// The process that is killed: goes on with the chain and says each height once it is acknowledged.
#[test]
fn child_writes_until_it_dies() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut out = std::io::stdout();
    let mut database = match Database::open(Path::new(&folder), GENESIS, &StoreConfig::default()) {
        Ok(database) => database,
        Err(error) => {
            println!("\nrefused {error}");
            return;
        }
    };
    let mut height = database.reader().canonical_roots(alys_primitives::Height(0), usize::MAX).expect("readable").len();
    println!("\nready {height}");
    loop {
        // Groups of changing size, so that one or many batches ride on a sync.
        let next = u64::try_from(height).expect("small") + 1;
        let group: Vec<_> = (next..next + 1 + next % 4).map(import).collect();
        if let Err(error) = database.apply_many(&group) {
            let again = database.apply(&import(next)).expect_err("a writer that failed once writes nothing more");
            assert!(matches!(again, StoreError::Stopped), "{again}");
            writeln!(out, "failed {} {error}", error.is_fatal()).expect("the parent listens");
            out.flush().expect("the parent listens");
            std::process::exit(3);
        }
        height += group.len();
        writeln!(out, "acknowledged {height}").expect("the parent listens");
        out.flush().expect("the parent listens");
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "child_writes_until_it_dies", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What the child says, line by line.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).lines().map_while(Result::ok)
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

#[test]
fn everything_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut last = 0;
    for round in 0..8u64 {
        let mut child = command(folder.path()).spawn().expect("starts");
        let mut said = lines(&mut child);
        let wanted = last + 5 + 17 * round;
        let mut reached = last;
        while reached < wanted {
            let line = said.next().expect("the child writes until it is killed");
            reached = acknowledged(&line).unwrap_or(reached);
        }
        child.kill().expect("killed");
        // What it said before it died counts as well.
        reached = said.filter_map(|line| acknowledged(&line)).last().unwrap_or(reached);
        child.wait().expect("reaped");

        let database = open(folder.path());
        let stored = u64::try_from(database.load().expect("loads").blocks.len()).expect("small");
        assert!(stored >= reached, "round {round}: {reached} blocks were acknowledged, {stored} are there");
        assert_chain(&database.reader(), stored);
        last = stored;
    }
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = open(folder.path());
    let mut child = command(folder.path()).spawn().expect("starts");
    let refusal = lines(&mut child).find(|line| line.starts_with("refused")).expect("refused");
    assert!(refusal.contains(&folder.path().display().to_string()), "{refusal}");
    child.wait().expect("reaped");
    drop(database);
}

/// The file size limit stands for a disk that fails in the middle of a write.
#[test]
fn a_failed_write_stops_the_writer_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let this = command(folder.path());
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 300; exec \"$0\" \"$@\""])
        .arg(this.get_program())
        .args(this.get_args())
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut reached = 0;
    let mut failure = None;
    for line in lines(&mut child) {
        reached = acknowledged(&line).unwrap_or(reached);
        failure = line.strip_prefix("failed ").map(str::to_owned).or(failure);
    }
    assert_eq!(child.wait().expect("reaped").code(), Some(3));
    let failure = failure.expect("the limit was reached");
    assert!(failure.starts_with("true "), "fatal: {failure}");
    assert!(reached > 10, "some writes came through: {reached}");

    let database = open(folder.path());
    let stored = u64::try_from(database.load().expect("loads").blocks.len()).expect("small");
    assert!(stored >= reached, "{reached} blocks were acknowledged, {stored} are there");
    assert_chain(&database.reader(), stored);
}

/// Runs in a mount namespace of its own, on a file system of three megabytes.
#[test]
fn a_full_disk_is_named_and_needs_no_repair() {
    const INSIDE: &str = "ALYS_STORE_TEST_MOUNT";
    if let Some(mount) = std::env::var_os(INSIDE) {
        let folder = Path::new(&mount);
        let ballast = folder.join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).expect("room for ballast");
        let mut database = open(&folder.join("chain"));
        let mut acknowledged = 0;
        let error = loop {
            match database.apply(&import(acknowledged + 1)) {
                Ok(()) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::DiskFull(_)) && error.is_fatal(), "{error:?}");
        drop(database);
        std::fs::remove_file(ballast).expect("room again");
        let mut database = open(&folder.join("chain"));
        let stored = u64::try_from(database.load().expect("loads").blocks.len()).expect("small");
        assert!(stored >= acknowledged, "{acknowledged} blocks were acknowledged, {stored} are there");
        assert_chain(&database.reader(), stored);
        database.apply(&import(stored + 1)).expect("written");
        return;
    }
    let mount = tempfile::tempdir().expect("a folder");
    let probe = Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(mount.path())
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        alys_vectors::skip("needs the right to mount");
        return;
    }
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", "mount -t tmpfs -o size=4m tmpfs \"$ALYS_STORE_TEST_MOUNT\" && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", "a_full_disk_is_named_and_needs_no_repair", "--nocapture"])
        .env(INSIDE, mount.path())
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
