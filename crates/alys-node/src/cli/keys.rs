//! `alys-node keys`.

use super::failure::{Failure, Outcome};
use super::history::{HistoryCommand, history};
use crate::bounded::{ReadError, read_bounded};
use crate::key_files::{KeyFileError, generate_key, read_keystore, read_password, write_keystore};
use alys_crypto::SecretKey;
use alys_crypto::keystore::{KdfCost, Password};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Holds the password where neither a file nor a prompt fits.
const PASSWORD_VARIABLE: &str = "ALYS_KEYSTORE_PASSWORD";

/// The longest file with a secret key in hex.
const MAX_SECRET_BYTES: u64 = 256;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Makes a random key and writes its keystore (EIP-2335).
    New {
        /// The keystore to write; an existing file is never overwritten.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        encryption: Encryption,
    },
    /// Encrypts a secret key from a file into a keystore.
    Import {
        /// File with the secret key as 64 hex digits; `-` reads standard input.
        #[arg(long)]
        secret: PathBuf,
        /// The keystore to write; an existing file is never overwritten.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        encryption: Encryption,
    },
    /// Lists the keystores of a folder.
    List {
        /// The folder.
        folder: PathBuf,
        /// One JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Prints public key and proof of possession as a chain spec needs them.
    Pop {
        /// The keystore.
        keystore: PathBuf,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Moves the record of what a member's key has signed.
    #[command(subcommand)]
    History(HistoryCommand),
}

#[derive(Args)]
pub(super) struct Encryption {
    #[command(flatten)]
    password: PasswordSource,
    /// Key stretching.
    #[arg(long, value_enum, default_value_t = Kdf::Scrypt)]
    kdf: Kdf,
}

#[derive(Args)]
pub(super) struct PasswordSource {
    /// File whose first line is the password; without it the environment's ALYS_KEYSTORE_PASSWORD, else a prompt.
    #[arg(long)]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kdf {
    /// scrypt, 256 MiB.
    Scrypt,
    /// PBKDF2-HMAC-SHA256.
    Pbkdf2,
}

impl Kdf {
    fn cost(self) -> KdfCost {
        match self {
            Self::Scrypt => KdfCost::SCRYPT,
            Self::Pbkdf2 => KdfCost::PBKDF2,
        }
    }
}

pub(super) fn keys(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::New { out, encryption } => {
            let key = generate_key().map_err(Failure::work)?;
            store(&key, &out, &encryption)
        }
        KeysCommand::Import { secret, out, encryption } => {
            let key = read_secret(&secret)?;
            store(&key, &out, &encryption)
        }
        KeysCommand::List { folder, json } => list(&folder, json),
        KeysCommand::Pop { keystore, password } => {
            let encrypted = read_keystore(&keystore).map_err(Failure::work)?;
            let password = password.password(false)?;
            let key = encrypted
                .decrypt(&password)
                .map_err(|source| Failure::work(KeyFileError::Keystore { path: keystore, source }))?;
            println!("{}", possession(&key));
            Ok(())
        }
        KeysCommand::History(command) => history(command),
    }
}

fn store(key: &SecretKey, out: &Path, encryption: &Encryption) -> Outcome {
    let password = encryption.password.password(true)?;
    write_keystore(out, key, &password, encryption.kdf.cost()).map_err(|error| match error {
        KeyFileError::Unwritable { .. } => {
            Failure::work(error).help("keystores are never overwritten: name another file")
        }
        KeyFileError::File(_)
        | KeyFileError::Keystore { .. }
        | KeyFileError::Password { .. }
        | KeyFileError::Entropy(_)
        | KeyFileError::SecretKey { .. } => Failure::work(error),
    })?;
    println!("{}", possession(key));
    Ok(())
}

/// What a chain spec holds of a member.
fn possession(key: &SecretKey) -> serde_json::Value {
    json!({
        "public_key": format!("0x{}", hex::encode(key.public_key().to_bytes())),
        "proof_of_possession": format!("0x{}", hex::encode(key.prove_possession().to_bytes())),
    })
}

fn read_secret(path: &Path) -> Result<SecretKey, Failure> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let bytes = Zeroizing::new(read_bounded(path, MAX_SECRET_BYTES).map_err(Failure::work)?);
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).trim().to_owned());
    let digits = text.strip_prefix("0x").unwrap_or(&text);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, &mut *secret).map_err(|_| {
        Failure::work(format!("{} holds no secret key", path.display())).help("64 hex digits are needed")
    })?;
    SecretKey::from_bytes(&*secret)
        .map_err(|source| Failure::work(KeyFileError::SecretKey { path: path.to_owned(), source }))
}

fn list(folder: &Path, json: bool) -> Outcome {
    let entries = std::fs::read_dir(folder).map_err(|source| {
        Failure::work(ReadError::Unreadable { path: folder.to_owned(), source }).help("a folder is needed")
    })?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut listed = Vec::new();
    for path in paths {
        match read_keystore(&path) {
            Ok(keystore) => listed.push((path, keystore.public_key().to_string())),
            // Other JSON files live beside keystores.
            Err(error) => eprintln!("skipped: {}: {error}", path.display()),
        }
    }
    if json {
        let rows: Vec<_> = listed.iter().map(|(path, key)| json!({ "file": path, "public_key": key })).collect();
        println!("{}", json!(rows));
    } else {
        for (path, key) in listed {
            println!("{key}  {}", path.display());
        }
    }
    Ok(())
}

impl PasswordSource {
    /// The password; asked twice where a typing error would lock a new key away.
    fn password(&self, is_new: bool) -> Result<Password, Failure> {
        if let Some(path) = &self.password_file {
            return read_password(path).map_err(Failure::work);
        }
        let text = match std::env::var(PASSWORD_VARIABLE) {
            Ok(text) => Zeroizing::new(text),
            Err(_) => prompt(is_new)?,
        };
        Password::new(&text).map_err(Failure::usage)
    }
}

fn prompt(is_new: bool) -> Result<Zeroizing<String>, Failure> {
    let ask = |text: &str| {
        rpassword::prompt_password(text).map(Zeroizing::new).map_err(|error| {
            Failure::usage(error)
                .help(format!("no terminal to ask for the password: use --password-file or {PASSWORD_VARIABLE}"))
        })
    };
    let password = ask("password: ")?;
    if is_new && *ask("again: ")? != *password {
        return Err(Failure::usage("the passwords differ"));
    }
    Ok(password)
}
