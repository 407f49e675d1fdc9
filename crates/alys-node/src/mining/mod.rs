//! Merged mining as pools see it: templates and answers (`docs/` page "mining"; Namecoin Core's RPC is the model).

mod error;
pub mod templates;

pub use error::MiningError;
pub use templates::{Frontier, Issued, TemplateBook};
