use super::*;
use crate::actors::chain::PerformanceTargets;
use std::path::PathBuf;

fn none() -> [(String, String); 0] {
    []
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alys.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn every_key_of_the_table_is_a_field_and_the_reverse() {
    let mut config = Config::default();
    config.validator.keystore = Some("k".into());
    config.validator.password_file = Some("p".into());
    config.validator.custody_socket = Some("s".into());
    config.mining.payout = Some(Default::default());
    config.network.key_file = Some("n".into());
    config.sync.checkpoint = Some(Default::default());
    config.execution.jwt_secret = Some("j".into());
    config.bitcoin = BitcoinSection {
        url: Some("u".to_owned()),
        cookie_file: Some("c".into()),
        user: Some("n".to_owned()),
        password_file: Some("p".into()),
        embedded: true,
    };
    let table = Table::try_from(&config).unwrap();
    let fields: Vec<String> = table
        .iter()
        .flat_map(|(section, entries)| entries.as_table().unwrap().keys().map(move |key| format!("{section}.{key}")))
        .collect();
    for key in KEYS {
        assert!(fields.contains(&key.name.to_owned()), "{} is no field", key.name);
    }
    assert_eq!(fields.len(), KEYS.len());
}

#[test]
fn later_sources_win_and_are_named() {
    let (_folder, path) = file("[rpc]\nlisten = \"127.0.0.1:1\"\nmax_batch = 7\nmining = true\n");
    let environment = [("ALYS_RPC_LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
    let flags = [("rpc.max_batch".to_owned(), "9".to_owned())];
    let effective = Effective::load(Some(&path), environment, flags).unwrap();
    assert_eq!(effective.config.rpc.listen.port(), 2);
    assert_eq!(effective.config.rpc.max_batch, 9);
    assert!(effective.config.rpc.mining);
    let text = effective.describe();
    assert!(text.contains("rpc.listen = \"127.0.0.1:2\"  # environment ALYS_RPC_LISTEN"), "{text}");
    assert!(text.contains("rpc.max_batch = 9  # flag --rpc-max-batch"), "{text}");
    assert!(text.contains("rpc.max_connections = 200  # default"), "{text}");
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    let (_folder, path) = file("[rpc]\nlissten = \"127.0.0.1:1\"\n");
    let error = Effective::load(Some(&path), none(), none()).unwrap_err().to_string();
    assert!(error.contains("`rpc.lissten`") && error.contains("did you mean `rpc.listen`"), "{error}");
}

#[test]
fn a_wrong_type_names_key_and_source() {
    let (_folder, path) = file("[rpc]\nlisten = 5\n");
    let error = Effective::load(Some(&path), none(), none()).unwrap_err().to_string();
    assert!(error.contains("`rpc.listen` from file"), "{error}");
    let flags = [("rpc.max_batch".to_owned(), "many".to_owned())];
    let error = Effective::load(None, none(), flags).unwrap_err().to_string();
    assert!(error.contains("--rpc-max-batch") && error.contains("`many`"), "{error}");
}

#[test]
fn targets_are_read_and_a_senseless_one_is_refused_by_key_and_source() {
    let (_folder, path) = file("[performance]\nmax_import_time_ms = 40\n");
    let effective = Effective::load(Some(&path), none(), none()).unwrap();
    let targets = PerformanceTargets { max_import_time_ms: 40, ..PerformanceTargets::default() };
    assert_eq!(effective.config.performance, targets);
    let flags = [("performance.max_validation_time_ms".to_owned(), "0".to_owned())];
    let error = Effective::load(Some(&path), none(), flags).unwrap_err().to_string();
    let expected = "`performance.max_validation_time_ms` from flag --performance-max-validation-time-ms: is 0";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn paths_of_the_file_are_beside_the_file() {
    let (folder, path) = file("[node]\ndata_dir = \"d\"\n");
    let effective = Effective::load(Some(&path), none(), none()).unwrap();
    assert_eq!(effective.config.node.data_dir, folder.path().join("d"));
}
