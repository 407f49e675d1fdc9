//! Versions of the schema and the way from one to the next.

use crate::database::{Changes, Database};
use crate::folder::{Format, write_format};
use crate::{Column, Damage, StoreError};
use alys_primitives::Root;
use std::sync::Arc;

const SCHEMA_KEY: &[u8] = b"schema";

/// The schema that this version of the software writes.
pub const SCHEMA_VERSION: u32 = 4;

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
    pub(crate) const CURRENT: Self = Self {
        version: SCHEMA_VERSION,
        // Columns are made when the database is opened.
        migrations: &[
            // Blocks of before burned nothing that counts: chains had no peg.
            Migration { from: 1, name: "burns of blocks", run: |_, _| Ok(()) },
            // Proofs and changes of before were in memory only.
            Migration { from: 2, name: "what waits for an author", run: |_, _| Ok(()) },
            // Nodes of before had the blocks of every bundle that they knew.
            Migration { from: 3, name: "records of bundles without blocks", run: |_, _| Ok(()) },
        ],
    };

    /// What the format file says of a database of this version.
    pub(crate) fn format(&self) -> Format {
        Format { version: self.version, columns: Column::ALL.len() }
    }

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
            write_format(&folder, self.format())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreConfig;
    use std::path::Path;

    const CHAIN: Root = Root::repeat_byte(7);

    /// Later versions of the software, as they might come.
    const LATER: Schema = Schema {
        version: SCHEMA_VERSION + 2,
        migrations: &[
            Migration {
                from: SCHEMA_VERSION,
                name: "write a word",
                run: |_, changes| {
                    changes.put(Column::Meta, b"word", b"one");
                    Ok(())
                },
            },
            Migration {
                from: SCHEMA_VERSION + 1,
                name: "double the word",
                run: |database, changes| {
                    let word = database.shared().get(Column::Meta, b"word")?.unwrap_or_default();
                    changes.put(Column::Meta, b"word", &[word.clone(), word].concat());
                    Ok(())
                },
            },
        ],
    };

    fn open(folder: &Path, schema: &Schema) -> Result<Database, StoreError> {
        Database::open_as(folder, CHAIN, &StoreConfig::default(), schema)
    }

    fn word(database: &Database) -> Option<Vec<u8>> {
        database.shared().get(Column::Meta, b"word").expect("readable")
    }

    #[test]
    fn an_older_database_is_migrated_once() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), &Schema::CURRENT).expect("made"));
        for _ in 0..2 {
            let database = open(folder.path(), &LATER).expect("migrated");
            assert_eq!(word(&database).as_deref(), Some(b"oneone".as_slice()));
        }
    }

    #[test]
    fn a_newer_database_is_refused_with_both_versions_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), &LATER).expect("made"));
        let error = open(folder.path(), &Schema::CURRENT).expect_err("newer");
        let (found, supported) = (LATER.version, SCHEMA_VERSION);
        assert!(
            matches!(error, StoreError::Newer { found: f, supported: s, .. } if (f, s) == (found, supported)),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&found.to_string()) && text.contains(&supported.to_string()), "{text}");
        open(folder.path(), &LATER).expect("still fine");
    }

    #[test]
    fn a_new_database_needs_no_migration() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = open(folder.path(), &LATER).expect("made");
        assert_eq!(word(&database), None);
    }

    #[test]
    fn a_crash_between_steps_is_made_up_for() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), &Schema::CURRENT).expect("made"));
        // The first step was committed, the second was not.
        let step = Schema { version: SCHEMA_VERSION + 1, migrations: LATER.migrations };
        drop(open(folder.path(), &step).expect("migrated"));
        write_format(folder.path(), LATER.format()).expect("written");
        let database = open(folder.path(), &LATER).expect("migrated");
        assert_eq!(word(&database).as_deref(), Some(b"oneone".as_slice()));
    }

    #[test]
    fn a_version_that_no_step_leads_on_from_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(folder.path(), &Schema::CURRENT).expect("made"));
        let far = Schema { version: SCHEMA_VERSION + 2, migrations: &[] };
        let error = open(folder.path(), &far).expect_err("too old");
        assert!(matches!(error, StoreError::TooOld { found: SCHEMA_VERSION, .. }), "{error}");
    }
}
