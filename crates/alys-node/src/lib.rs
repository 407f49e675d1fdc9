//! The Alys daemon and the builder that embeds it.
