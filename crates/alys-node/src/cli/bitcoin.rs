//! From the `[bitcoin]` section to the node's Bitcoin.

use super::failure::Failure;
use crate::bounded::read_bounded;
use crate::config::BitcoinSection;
use crate::node::{DevBitcoin, NodeBuilder};
use alys_bitcoin::CoreRpc;
use alys_bitcoin::core_rpc::{Auth, CoreConfig};
use std::time::Duration;

/// The longest that one call to Bitcoin Core may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The longest password file in bytes.
const MAX_PASSWORD: u64 = 1024;

/// The Bitcoin that the operator chose.
#[derive(Debug)]
pub(super) enum Choice {
    Absent,
    Embedded,
    Core(Box<CoreRpc>),
}

impl Choice {
    pub(super) fn of(section: &BitcoinSection) -> Result<Self, Failure> {
        let url = match (&section.url, section.embedded) {
            (None, embedded) => {
                if section.cookie_file.is_some() || section.user.is_some() || section.password_file.is_some() {
                    return Err(Failure::usage("credentials for Bitcoin are set, `bitcoin.url` is not")
                        .help("such as http://127.0.0.1:8332"));
                }
                return Ok(if embedded { Self::Embedded } else { Self::Absent });
            }
            (Some(_), true) => {
                return Err(Failure::usage("`bitcoin.url` and `bitcoin.embedded` are both set")
                    .help("a node has one Bitcoin: remove one of them"));
            }
            (Some(url), false) => url.clone(),
        };
        let auth = match (&section.cookie_file, &section.user, &section.password_file) {
            (Some(cookie), None, None) => Auth::Cookie(cookie.clone()),
            (None, Some(name), Some(file)) => {
                let bytes = read_bounded(file, MAX_PASSWORD).map_err(Failure::usage)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Auth::User { name: name.clone(), password: text.lines().next().unwrap_or_default().to_owned() }
            }
            _ => {
                return Err(Failure::usage("`bitcoin.url` is set without one way to log in")
                    .help("either `bitcoin.cookie_file`, or `bitcoin.user` and `bitcoin.password_file`"));
            }
        };
        CoreRpc::new(CoreConfig { url, auth, timeout: DEADLINE })
            .map(|core| Self::Core(Box::new(core)))
            .map_err(Failure::usage)
    }

    pub(super) fn add_to(self, builder: NodeBuilder) -> NodeBuilder {
        match self {
            Self::Absent => builder,
            Self::Embedded => builder.dev_bitcoin(DevBitcoin { miner_payout: None }),
            Self::Core(core) => builder.bitcoin_core(*core),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: Option<&str>, cookie: Option<&str>, user: Option<&str>) -> BitcoinSection {
        BitcoinSection {
            url: url.map(str::to_owned),
            cookie_file: cookie.map(Into::into),
            user: user.map(str::to_owned),
            password_file: None,
            embedded: false,
        }
    }

    #[test]
    fn nothing_set_means_no_bitcoin() {
        assert!(matches!(Choice::of(&BitcoinSection::default()), Ok(Choice::Absent)));
        let embedded = BitcoinSection { embedded: true, ..BitcoinSection::default() };
        assert!(matches!(Choice::of(&embedded), Ok(Choice::Embedded)));
    }

    #[test]
    fn an_address_needs_exactly_one_way_to_log_in() {
        let url = Some("http://127.0.0.1:18443");
        assert!(matches!(Choice::of(&section(url, Some("c"), None)), Ok(Choice::Core(_))));
        for wrong in [
            section(url, None, None),
            section(url, Some("c"), Some("u")),
            section(url, None, Some("u")),
            section(None, Some("c"), None),
            section(Some("https://127.0.0.1"), Some("c"), None),
            BitcoinSection { embedded: true, ..section(url, Some("c"), None) },
        ] {
            let failure = Choice::of(&wrong).unwrap_err().to_string();
            assert!(failure.starts_with("error: "), "{failure}");
        }
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "secret\nnot it\n").unwrap();
        let mut chosen = section(Some("http://127.0.0.1:1"), None, Some("alys"));
        chosen.password_file = Some(file);
        let choice = format!("{:?}", Choice::of(&chosen).unwrap());
        assert!(choice.contains("alys") && !choice.contains("secret"), "{choice}");
        chosen.password_file = Some(folder.path().join("missing"));
        assert!(Choice::of(&chosen).is_err());
    }
}
