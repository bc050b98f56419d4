//! How relays are used, as the config says: `Swarm.RelayService`, `Swarm.RelayClient`,
//! `Swarm.EnableHolePunching` and `Internal.Libp2pForceReachability`, with Kubo's defaults.

use std::time::Duration;

use super::Error;
use crate::config::Config;
use crate::net::{self, Reachability, RelayOptions, RelayService};

/// `Swarm.RelayService` when the config does not say: go-libp2p's numbers.
const DEFAULT: RelayService = RelayService {
    reservations: 128,
    reservation_ttl: Duration::from_secs(3600),
    circuits: 16,
    circuit_time: Duration::from_secs(2 * 60),
    circuit_bytes: 128 << 10,
};

/// What the config says.
///
/// # Errors
/// With Kubo's texts, when it asks for what needs what it has switched off, or names no peer.
pub(super) fn options(config: &Config) -> Result<RelayOptions, Error> {
    let has_transport = config.flag("Swarm.Transports.Network.Relay") != Some(false);
    let service = enabled(config, "Swarm.RelayService", has_transport)?;
    let is_client = enabled(config, "Swarm.RelayClient", has_transport)?;
    let hole_punching = config.flag("Swarm.EnableHolePunching");
    if hole_punching == Some(true) && !is_client {
        return Err(Error::failed(
            "failed to enable Swarm.EnableHolePunching: it requires Swarm.RelayClient.Enabled to \
             be true",
        ));
    }
    let mut relays = Vec::new();
    for text in config.texts("Swarm.RelayClient.StaticRelays") {
        let named = net::parse_multiaddr(&text).and_then(net::split_peer);
        let (place, relay) = named.map_err(|error| {
            Error::Failed(format!("Swarm.RelayClient.StaticRelays: {text}: {error}"))
        })?;
        relays.push((relay, vec![place]));
    }
    Ok(RelayOptions {
        service: service.then(|| limits(config)),
        is_client,
        relays,
        hole_punching: is_client && hole_punching != Some(false),
        reachability: forced(config)?,
    })
}

fn enabled(config: &Config, group: &str, has_transport: bool) -> Result<bool, Error> {
    match config.flag(&format!("{group}.Enabled")) {
        Some(true) if !has_transport => Err(Error::Failed(format!(
            "Failed to enable `{group}`, it requires `Swarm.Transports.Network.Relay` to be true."
        ))),
        Some(says) => Ok(says),
        None => Ok(has_transport),
    }
}

fn limits(config: &Config) -> RelayService {
    let number = |name: &str| {
        let number = config.integer(&format!("Swarm.RelayService.{name}"));
        number.and_then(|number| u64::try_from(number).ok())
    };
    let count = |name| number(name).and_then(|number| usize::try_from(number).ok());
    let time = |name: &str| {
        let nanos = config.nanos(&format!("Swarm.RelayService.{name}"));
        nanos.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos)
    };
    RelayService {
        reservations: count("MaxReservations").unwrap_or(DEFAULT.reservations),
        reservation_ttl: time("ReservationTTL").unwrap_or(DEFAULT.reservation_ttl),
        circuits: count("MaxCircuits").unwrap_or(DEFAULT.circuits),
        circuit_time: time("ConnectionDurationLimit").unwrap_or(DEFAULT.circuit_time),
        circuit_bytes: number("ConnectionDataLimit").unwrap_or(DEFAULT.circuit_bytes),
    }
}

fn forced(config: &Config) -> Result<Option<Reachability>, Error> {
    match config.text("Internal.Libp2pForceReachability") {
        None | Some("") => Ok(None),
        Some("public") => Ok(Some(Reachability::Public)),
        Some("private") => Ok(Some(Reachability::Private)),
        Some(other) => Err(Error::Failed(format!("unrecognized reachability option: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(config: &Value) -> Result<RelayOptions, Error> {
        options(&Config::decode(config).unwrap())
    }

    #[test]
    fn by_default_a_node_relays_and_uses_relays() {
        let options = said(&json!({})).unwrap();
        assert!(options.is_client && options.hole_punching && options.reachability.is_none());
        assert_eq!(options.service.unwrap().circuit_bytes, 131_072);
        let off = json!({"Swarm": {"Transports": {"Network": {"Relay": false}}}});
        let options = said(&off).unwrap();
        assert!(options.service.is_none() && !options.is_client && !options.hole_punching);
    }

    #[test]
    fn the_config_says_otherwise() {
        let peer = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";
        let options = said(&json!({
            "Internal": {"Libp2pForceReachability": "private"},
            "Swarm": {
                "RelayClient": {"StaticRelays": [format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}")]},
                "RelayService": {"ConnectionDataLimit": 5, "ConnectionDurationLimit": "3s"},
                "EnableHolePunching": false,
            },
        }));
        let options = options.unwrap();
        assert_eq!(options.reachability, Some(Reachability::Private));
        assert_eq!(options.relays[0].0.to_string(), peer);
        let service = options.service.unwrap();
        assert_eq!((service.circuit_bytes, service.circuit_time), (5, Duration::from_secs(3)));
        assert!(!options.hole_punching);
    }

    #[test]
    fn what_needs_what_is_off_is_refused() {
        for (config, text) in [
            (
                json!({"Swarm": {"RelayService": {"Enabled": true},
                                 "Transports": {"Network": {"Relay": false}}}}),
                "Failed to enable `Swarm.RelayService`",
            ),
            (
                json!({"Swarm": {"RelayClient": {"Enabled": false}, "EnableHolePunching": true}}),
                "failed to enable Swarm.EnableHolePunching",
            ),
            (json!({"Internal": {"Libp2pForceReachability": "x"}}), "unrecognized reachability"),
            (json!({"Swarm": {"RelayClient": {"StaticRelays": ["/x"]}}}), "StaticRelays: /x"),
        ] {
            let error = said(&config).unwrap_err().to_string();
            assert!(error.starts_with(text) || error.contains(text), "{error}");
        }
    }
}
