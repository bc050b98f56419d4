use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::*;

fn fresh() -> Config {
    let identity = Identity::generate("ed25519", None).unwrap();
    let key = identity.private_key_text();
    Config::fresh(&identity.peer_id().to_base58(), &key).unwrap()
}

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &fresh()).unwrap();
    dir
}

#[test]
fn init_writes_kubos_layout() {
    let dir = made();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("version"), "18\n");
    assert!(read("datastore_spec").ends_with('}'));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("config") & 0o777, 0o600);
    assert_eq!(mode("keystore") & 0o777, 0o700);
    assert!(matches!(init(dir.path(), &fresh()), Err(Error::Exists)));
}

#[test]
fn an_open_repo_is_locked_until_it_is_dropped() {
    let dir = made();
    let repo = Repo::open(dir.path(), None).unwrap();
    assert!(matches!(Repo::open(dir.path(), None), Err(Error::Locked { .. })));
    repo.write_api_file("/ip4/127.0.0.1/tcp/5001").unwrap();
    let api = dir.path().join("api");
    assert_eq!(fs::read_to_string(&api).unwrap(), "/ip4/127.0.0.1/tcp/5001");
    drop(repo);
    assert!(!api.exists());
    Repo::open(dir.path(), None).unwrap();
}

#[test]
fn unknown_keys_survive_every_rewrite() {
    let dir = made();
    let path = dir.path().join("config");
    let mut file = read_config(&path).unwrap();
    file["Mine"] = json!({"b": 1, "a": [null]});
    file["Datastore"]["Own"] = json!("x");
    fs::write(&path, file.to_string()).unwrap();
    let repo = Repo::open(dir.path(), None).unwrap();
    repo.set_config_key("Datastore.StorageMax", json!("1GB")).unwrap();
    let changed = repo.config().with_profile("server").unwrap();
    repo.set_config(changed).unwrap();
    let file = repo.config_file().unwrap();
    assert_eq!(file.pointer("/Mine/a"), Some(&json!([null])));
    assert_eq!(file.pointer("/Datastore/Own"), Some(&json!("x")));
    assert_eq!(file.pointer("/Datastore/StorageMax"), Some(&json!("1GB")));
    assert_eq!(repo.config().storage_max(), Ok(1_000_000_000));
    assert_eq!(repo.config().address_filters().len(), 19);
}

#[test]
fn a_refused_change_changes_nothing() {
    let dir = made();
    let repo = Repo::open(dir.path(), None).unwrap();
    let before = repo.config_file().unwrap();
    repo.set_config_key("Datastore.StorageMax", json!(1)).unwrap_err();
    repo.set_config_key("New.Key", json!(1)).unwrap_err();
    assert_eq!(repo.config_file().unwrap(), before);
}

#[test]
fn repos_of_other_versions_are_refused() {
    let dir = made();
    for (version, text) in [("17", "needs migration"), ("19", "is lower than your repos (19)")] {
        fs::write(dir.path().join("version"), version).unwrap();
        let error = Repo::open(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    fs::remove_file(dir.path().join("version")).unwrap();
    assert!(matches!(Repo::open(dir.path(), None), Err(Error::NoVersion)));
    let none = tempfile::tempdir().unwrap();
    let error = Repo::open(none.path(), None).unwrap_err().to_string();
    let path = none.path().display();
    assert_eq!(error, format!("no IPFS repo found in {path}.\nplease run: 'ipfs init'"));
}

#[test]
fn another_datastore_spec_is_refused() {
    let dir = made();
    fs::write(dir.path().join("datastore_spec"), "{}").unwrap();
    let error = Repo::open(dir.path(), None).unwrap_err().to_string();
    assert!(error.starts_with("datastore configuration of '{}' does not match"), "{error}");
}
