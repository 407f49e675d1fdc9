//! Versions of the schema and the way from one to the next.

use crate::database::{Changes, Database};
use crate::folder::write_format;
use crate::{Column, Damage, StoreError};
use alys_primitives::Root;
use std::sync::Arc;

const SCHEMA_KEY: &[u8] = b"schema";

/// The schema that this version of the software writes.
pub const SCHEMA_VERSION: u32 = 1;

/// A schema version and how to reach it.
pub(crate) struct Schema {
    /// The version.
    pub(crate) version: u32,
    /// Every step that is supported, in order.
    pub(crate) migrations: &'static [Migration],
}

/// One step from a version to the next. Its changes and the new version are one commit: a step happens or does not.
pub(crate) struct Migration {
    /// The version it starts from; it leads to the next.
    pub(crate) from: u32,
    /// What it changes, for the log.
    pub(crate) name: &'static str,
    /// Collects the changes.
    pub(crate) run: fn(&Database, &mut Changes<'_>) -> Result<(), StoreError>,
}

impl Schema {
    /// What this version of the software knows.
    pub(crate) const CURRENT: Self = Self { version: SCHEMA_VERSION, migrations: &[] };

    /// Brings an open database to this version.
    ///
    /// The format file is raised before the first step: a crash between the two leaves a database that only programs
    /// that know the new version open, and they find the steps that are left to do.
    pub(crate) fn migrate(&self, database: &mut Database) -> Result<(), StoreError> {
        let folder = database.folder().to_path_buf();
        let mut found = match database.shared().get(Column::Meta, SCHEMA_KEY)? {
            Some(bytes) => <[u8; 4]>::try_from(bytes.as_slice()).map(u32::from_be_bytes).map_err(|_| {
                StoreError::Corrupt { column: Column::Meta, key: SCHEMA_KEY.to_vec(), damage: Damage::Length }
            })?,
            None if database.commits() == 0 => return self.record(database, self.version, |_, _| Ok(())),
            None => {
                let (column, key) = (Column::Meta, SCHEMA_KEY.to_vec());
                return Err(StoreError::Corrupt { column, key, damage: Damage::Length });
            }
        };
        if found > self.version {
            return Err(StoreError::Newer { folder, found, supported: self.version });
        }
        if found < self.version {
            write_format(&folder, self.version)?;
        }
        while found < self.version {
            let Some(step) = self.migrations.iter().find(|step| step.from == found) else {
                return Err(StoreError::TooOld { folder, found });
            };
            tracing::info!(from = found, to = found + 1, step = step.name, "migrating the database");
            self.record(database, found + 1, step.run)?;
            found += 1;
        }
        Ok(())
    }

    fn record(
        &self,
        database: &mut Database,
        version: u32,
        run: impl FnOnce(&Database, &mut Changes<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let shared = Arc::clone(database.shared());
        let mut changes = Changes::new(&shared);
        run(database, &mut changes)?;
        changes.put(Column::Meta, SCHEMA_KEY, &version.to_be_bytes());
        database.commit(changes, Root::ZERO)
    }
}
