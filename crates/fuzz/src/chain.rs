//! Scripts of inputs for the chain core.

/// The bytes choose blocks, certificates, the order in which a node hears of them, and restarts; the core must come to
/// what a slow model says, after every step.
///
/// # Panics
/// On a finding.
pub fn chain_script(bytes: &[u8]) {
    alys_chain::testing::run_script(bytes);
}
