//! `engine_getClientVersionV1` (execution-apis, `src/engine/identification.md`).

use super::EngineApi;
use super::error::ApiError;
use crate::rpc::args::Args;
use alloy_primitives::FixedBytes;
use serde::{Deserialize, Serialize};

/// Who speaks. Consensus clients put the code and the commit into the graffiti of blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClientVersion {
    /// Two letters.
    code: String,
    name: String,
    version: String,
    /// The first four bytes of the commit that was built; zero where the build does not know it.
    commit: FixedBytes<4>,
}

/// This client, behind which there is no other. What the caller says of itself is logged.
pub(super) async fn client_version(_: &EngineApi, args: Args) -> Result<[ClientVersion; 1], ApiError> {
    let args = args.at_most(1)?;
    let theirs: ClientVersion = args.required(0, "client version")?;
    tracing::debug!(
        code = theirs.code,
        name = theirs.name,
        version = theirs.version,
        "a consensus client says who it is"
    );
    Ok([ClientVersion {
        code: "AL".to_owned(),
        name: "Alys".to_owned(),
        version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
        commit: FixedBytes::ZERO,
    }])
}
