//! Blocks from before the first one that is here: to be read, with their receipts, without their state.

use super::restore::{RestoreError, RestoredBlock, checked};
use crate::EvmReader;
use alys_engine::NewPayload;
use rocksdb::WriteBatch;

impl EvmReader {
    /// Adds blocks below the finalized one that were executed elsewhere, each with the RLP of its receipts, and gives what
    /// their receipts say. Their payloads must make the hashes that they name, and their receipts the roots in them; whether
    /// the hashes are the right ones is the caller's to know. They are on disk when this returns.
    ///
    /// This is the one thing that is written beside the executor, which never looks at blocks below its history.
    ///
    /// # Errors
    /// [`RestoreError::Block`] if a block is wrong, or another one is here in its place; [`RestoreError::Db`].
    pub fn keep_older(&self, blocks: &[(NewPayload, &[u8])]) -> Result<Vec<RestoredBlock>, RestoreError> {
        let db = self.db();
        let finalized = self.heads().finalized.number;
        let mut batch = WriteBatch::default();
        let mut results = Vec::with_capacity(blocks.len());
        for (payload, receipts) in blocks {
            let checked = checked(self.forks(), payload, receipts)?;
            let at = checked.at();
            let wrong = |reason: &str| RestoreError::Block { number: at.number, reason: reason.to_owned() };
            if at.number >= finalized {
                return Err(wrong("it is not below the finalized block"));
            }
            match db.canonical(at.number)? {
                Some(here) if here != at.hash => return Err(wrong("another block is here in its place")),
                Some(_) => {}
                None => checked.put(db, &mut batch)?,
            }
            results.push(checked.result);
        }
        db.write(batch)?;
        Ok(results)
    }
}
