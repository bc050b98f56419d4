use serde_json::{Value, json};

use super::*;

fn fresh() -> Config {
    Config::fresh("12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7", "CAES").unwrap()
}

#[test]
fn a_fresh_config_is_written_in_kubos_order_with_kubos_empty_values() {
    let text = fresh().to_file_text();
    let order: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \""))
        .filter_map(|line| line.trim().split('"').nth(1))
        .collect();
    assert_eq!(order.first(), Some(&"Identity"));
    assert_eq!(order.last(), Some(&"Bitswap"));
    assert_eq!(order.len(), 29);
    assert!(text.contains("\"BlockKeyCacheSize\": null"));
    assert!(text.contains("\"RelayClient\": {},"));
    assert!(!text.ends_with('\n'));
}

#[test]
fn every_profile_applies_and_gives_a_config() {
    for name in profile_names() {
        let changed = fresh().with_profile(name).unwrap();
        changed.validate(&Context::default()).unwrap_or_else(|error| {
            // Kubo refuses this one too: the placeholder of Bootstrap is still there.
            assert_eq!(name, "autoconf-off", "{error}");
        });
    }
    let error = fresh().with_profile("nope").unwrap_err();
    assert_eq!(error.to_string(), "nope is not a profile");
}

#[test]
fn local_discovery_undoes_server() {
    let server = fresh().with_profile("server").unwrap();
    assert_eq!(server.address_filters().len(), 19);
    let back = server.with_profile("local-discovery").unwrap();
    assert!(back.address_filters().is_empty());
    assert_eq!(back.flag("Discovery.MDNS.Enabled"), Some(true));
}

#[test]
fn keys_are_set_and_refused_as_in_kubo() {
    let file = fresh().as_json().clone();
    let (changed, config) = set_key(&file, "Datastore.StorageGCWatermark", json!(80)).unwrap();
    assert_eq!(config.storage_gc_watermark(), 80);
    assert_eq!(get_key(&changed, "Datastore.StorageGCWatermark"), Ok(&json!(80)));
    for (key, value, error) in [
        ("New.Key", json!("v"), "New not found"),
        ("", json!("v"), " not found"),
        (".x", json!("v"), " not found"),
        ("x.", json!("v"), "x not found"),
        ("Datastore.StorageMax.x", json!("1"), "Datastore.StorageMax key is not a map"),
        ("Bootstrap.0", json!("1"), "Bootstrap key is not a map"),
        (
            "Datastore.StorageGCWatermark",
            json!("80"),
            "failure to decode config: json: cannot unmarshal string into Go struct field \
             Datastore.Datastore.StorageGCWatermark of type int64",
        ),
        (
            "Swarm.AddrFilters",
            json!("x"),
            "failure to decode config: json: cannot unmarshal string into Go struct field \
             SwarmConfig.Swarm.AddrFilters of type []string",
        ),
        (
            "Addresses",
            json!([]),
            "failure to decode config: json: cannot unmarshal array into Go struct field \
             Config.Addresses of type config.Addresses",
        ),
        (
            "Addresses.API",
            json!(1),
            "failure to decode config: json: cannot unmarshal number into Go struct field \
             Addresses.Addresses.API of type string",
        ),
        (
            "Ipns.ResolveCacheSize",
            json!(1.5),
            "failure to decode config: json: cannot unmarshal number 1.5 into Go struct field \
             Ipns.Ipns.ResolveCacheSize of type int",
        ),
        (
            "Import.CidVersion",
            json!("1"),
            "failure to decode config: json: cannot unmarshal string into Go struct field \
             Import.Import.CidVersion of type int64",
        ),
    ] {
        let got = set_key(&file, key, value).unwrap_err();
        assert_eq!(got.to_string(), error, "{key}");
    }
}

#[test]
fn the_private_key_survives_every_set() {
    let file = fresh().as_json().clone();
    let (changed, _) = set_key(&file, "Identity", json!({"PeerID": "x"})).unwrap();
    assert_eq!(get_key(&changed, "Identity.PrivKey"), Ok(&json!("CAES")));
}

#[test]
fn missing_keys_have_kubos_texts() {
    let file = json!({"Datastore": {"StorageMax": "10GB"}, "Bootstrap": []});
    for (key, error) in [
        ("Nope", "Nope not found"),
        ("Nope.Sub", "Nope not found"),
        ("Datastore.Nope", "Datastore.Nope not found"),
        ("Datastore.", "Datastore. not found"),
        ("Datastore.StorageMax.Nope", "Datastore.StorageMax key is not a map"),
        ("Bootstrap.0", "Bootstrap key is not a map"),
        ("", " not found"),
        (".", " not found"),
    ] {
        assert_eq!(get_key(&file, key), Err(error.to_owned()), "{key:?}");
    }
}

#[test]
fn unknown_keys_survive_a_merge() {
    let file = json!({"New": {"a": 1}, "Datastore": {"Own": true, "StorageMax": "1GB"}});
    let merged = merge(&file, fresh().as_json());
    assert_eq!(merged.pointer("/New/a"), Some(&json!(1)));
    assert_eq!(merged.pointer("/Datastore/Own"), Some(&json!(true)));
    assert_eq!(merged.pointer("/Datastore/StorageMax"), Some(&json!("10GB")));
}

#[test]
fn secrets_are_scrubbed() {
    let file = json!({
        "Identity": {"PeerID": "p", "PrivKey": "k"},
        "API": {"Authorizations": {"a": {"AuthSecret": "s"}}, "HTTPHeaders": {}},
        "Pinning": {"RemoteServices": {"x": {"API": {"Endpoint": "e", "Key": "k"}}}},
    });
    let scrubbed = scrub(&file);
    assert_eq!(scrubbed.pointer("/Identity"), Some(&json!({"PeerID": "p"})));
    assert_eq!(scrubbed.pointer("/API/Authorizations"), Some(&json!({})));
    let api = scrubbed.pointer("/Pinning/RemoteServices/x/API");
    assert_eq!(api, Some(&json!({"Endpoint": "e"})));
}

#[test]
fn odd_configs_decode_as_in_go() {
    let config = Config::decode(&json!({
        "addresses": {"api": ["/ip4/127.0.0.1/tcp/1"]},
        "Provide": {"DHT": {"Interval": "90m"}},
        "Routing": {"Type": null},
    }))
    .unwrap();
    assert_eq!(config.api_addresses(), ["/ip4/127.0.0.1/tcp/1"]);
    assert_eq!(config.value("Provide.DHT.Interval"), &json!("1h30m0s"));
    assert_eq!(config.value("Routing.Type"), &Value::Null);
    assert!(Config::decode(&json!([])).is_err());
    let error = Config::decode(&json!({"Swarm": {"EnableHolePunching": "x"}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failure to decode config: failed to unmarshal \"\\\"x\\\"\" into a flag: must be \
         null/undefined, true, or false"
    );
}

#[test]
fn bad_settings_keep_a_daemon_from_starting() {
    for (path, value, start) in [
        ("Routing.Type", json!("nope"), "unrecognized routing option: nope"),
        ("Reprovider.Strategy", json!("all"), "deprecated configuration detected."),
        ("Import.UnixFSChunker", json!("nope"), "Import.UnixFSChunker invalid format"),
        ("Import.HashFunction", json!("nope"), "Import.HashFunction unrecognized"),
        ("Provide.Strategy", json!("all+mfs"), "Provide.Strategy: \"all\" strategy"),
        ("AutoConf.Enabled", json!(false), "no usable bootstrap peers"),
    ] {
        let config = fresh().with(&[(path, value)]).unwrap();
        let error = config.validate(&Context::default()).unwrap_err();
        assert!(error.to_string().starts_with(start), "{path}: {error}");
    }
    fresh().validate(&Context::default()).unwrap();
}

#[test]
fn a_private_network_starts_with_any_config_that_it_can_serve_and_says_what_it_leaves_out() {
    let private = Context { private_network: true, ..Context::default() };
    fresh().validate(&private).unwrap();
    assert_eq!(fresh().routing(&private), "dht");
    assert!(fresh().without_effect_in_private(&private).is_empty());
    for (path, value, start) in [
        ("AutoConf.Enabled", json!(true), "AutoConf.Enabled=true has no effect"),
        ("AutoTLS.Enabled", json!(true), "AutoTLS.Enabled=true has no effect"),
        ("Routing.Type", json!("autoclient"), "the routing option autoclient means dhtclient"),
    ] {
        let config = fresh().with(&[(path, value)]).unwrap();
        config.validate(&private).unwrap();
        let [note] = config.without_effect_in_private(&private)[..] else { panic!("{path}") };
        assert!(note.starts_with(start), "{note}");
    }
}

#[test]
fn the_old_name_of_the_sharding_threshold_counts_while_the_new_one_is_unset() {
    let (file, config) =
        set_key(fresh().as_json(), "Internal.UnixFSShardingSizeThreshold", json!("0B")).unwrap();
    assert_eq!(config.import().hamt_threshold, Some(0));
    let (_, config) =
        set_key(&file, "Import.UnixFSHAMTDirectorySizeThreshold", json!("1KiB")).unwrap();
    assert_eq!(config.import().hamt_threshold, Some(1024));
}
