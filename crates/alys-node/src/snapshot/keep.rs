//! Making snapshots while the node runs.

use super::SNAPSHOTS;
use super::create::{Sources, create};
use super::folder::list;
use crate::actors::service::ServiceEnd;
use alys_actor::CancellationToken;
use alys_chain::ChainView;
use alys_primitives::Height;
use std::path::PathBuf;
use tokio::sync::watch;

/// Snapshots that are kept; a newer one takes the oldest one's place.
const KEPT: usize = 2;

/// Makes a snapshot whenever finality passes a multiple of `every` blocks: the same ones on every node, as long as finality
/// moves in the same steps. Ends when `stop` is cancelled and the snapshot in hand is done.
pub async fn keep(
    sources: Sources,
    data: PathBuf,
    every: u64,
    mut view: watch::Receiver<ChainView>,
    stop: CancellationToken,
) -> ServiceEnd {
    let snapshots = data.join(SNAPSHOTS);
    let newest = list(&snapshots).first().map_or(Height(0), |(height, ..)| *height);
    let mut passed = newest.0.checked_div(every).unwrap_or(0);
    loop {
        let finalized = view.borrow_and_update().finalized.height;
        let now = finalized.0.checked_div(every).unwrap_or(0);
        if now > passed {
            passed = now;
            let (sources, snapshots) = (sources.clone(), snapshots.clone());
            let made = tokio::task::spawn_blocking(move || {
                let made = create(&sources, &snapshots, |_| {});
                for (_, _, path) in list(&snapshots).into_iter().skip(KEPT) {
                    if let Err(error) = std::fs::remove_dir_all(&path) {
                        tracing::warn!(path = %path.display(), %error, "an old snapshot stays");
                    }
                }
                made
            });
            match made.await {
                Ok(Ok(created)) => {
                    let manifest = created.folder.manifest();
                    metrics::counter!("alys_snapshots_made_total").increment(1);
                    tracing::info!(
                        height = manifest.height().0,
                        checkpoint = %created.anchor,
                        bytes = manifest.bytes(),
                        "snapshot made"
                    );
                }
                // The next multiple is another chance.
                Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "no snapshot was made"),
                Err(error) => tracing::error!(%error, "making a snapshot ended by itself"),
            }
            continue;
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            changed = view.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            },
        }
    }
}
