//! `alys-node bitcoin-regtest`: a regtest Bitcoin for the members of a development federation to share.

use super::failure::{Failure, Outcome};
use super::run::{StopSignals, runtime, start_logging};
use crate::config::LogFormat;
use crate::key_files::write_private;
use alys_bitcoin::core_server::CoreServer;
use alys_bitcoin::{BlockLog, RegtestLimits, embedded};
use clap::Args;
use rand::TryRngCore as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Requests that wait for the chain.
const INBOX: usize = 64;

/// The user of the cookie file, as Bitcoin Core names it.
const COOKIE_USER: &str = "__cookie__";

/// Name of the cookie file in the data folder, as Bitcoin Core names it.
const COOKIE_FILE: &str = ".cookie";

#[derive(Args)]
pub(super) struct RegtestArguments {
    /// Folder of the blocks and the cookie file.
    #[arg(long)]
    data_dir: PathBuf,
    /// Loopback address and port of the JSON-RPC; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:18443")]
    listen: SocketAddr,
    /// Log filter.
    #[arg(long, default_value = "info")]
    log: String,
}

pub(super) fn bitcoin_regtest(arguments: RegtestArguments) -> Outcome {
    start_logging(&arguments.log, LogFormat::Text)?;
    if !arguments.listen.ip().is_loopback() {
        return Err(Failure::usage(format!("`{}` is no loopback address", arguments.listen)).help(
            "regtest coins are worth nothing, and anybody with the cookie makes blocks: keep it on this machine",
        ));
    }
    let folder = &arguments.data_dir;
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::work(error).help(format!("while making {}", folder.display())))?;
    let opened = BlockLog::open(&folder.join("bitcoin.blocks"), RegtestLimits::default()).map_err(Failure::work)?;
    let (password, cookie) = write_cookie(folder)?;
    let outcome = runtime()?.block_on(async move {
        let mut signals = StopSignals::listen()?;
        let clock = || u32::try_from(crate::clock::wall_now().0 / 1000).unwrap_or(u32::MAX);
        let inbox = NonZeroUsize::new(INBOX).unwrap_or(NonZeroUsize::MIN);
        let (regtest, chain) = embedded(opened.regtest, Some(opened.log), inbox, clock);
        let server = CoreServer::bind(arguments.listen, regtest, COOKIE_USER, &password)
            .await
            .map_err(|error| Failure::work(error).help(format!("while listening on {}", arguments.listen)))?;
        println!("JSON-RPC  http://{}", server.address().map_err(Failure::work)?);
        println!("cookie    {}", cookie.display());
        tokio::select! {
            biased;
            () = signals.asked() => Ok(()),
            ended = chain => ended.map_err(Failure::work),
            never = server.run() => match never {},
        }
    });
    // Who still holds the old cookie should be told that nobody is there rather than that it is wrong.
    drop(std::fs::remove_file(arguments.data_dir.join(COOKIE_FILE)));
    outcome
}

/// A new password, in a file that only its owner reads.
fn write_cookie(folder: &Path) -> Result<(Zeroizing<String>, PathBuf), Failure> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::rngs::OsRng.try_fill_bytes(&mut *secret).map_err(|error| Failure::work(error.to_string()))?;
    let password = Zeroizing::new(hex::encode(*secret));
    let path = folder.join(COOKIE_FILE);
    // The block log is locked, so nobody else uses the folder: an old cookie is of a process that was killed.
    if path.exists() {
        std::fs::remove_file(&path)
            .map_err(|error| Failure::work(error).help(format!("while removing {}", path.display())))?;
    }
    let cookie = Zeroizing::new(format!("{COOKIE_USER}:{}", *password));
    write_private(&path, cookie.as_bytes()).map_err(Failure::work)?;
    Ok((password, path))
}
