//! Which addresses other peers are told: those of the interfaces, as the config changes them.

use multiaddr::Multiaddr;

use super::Mask;
use super::peers::ip_of;

/// `Addresses.Announce`, `AppendAnnounce` and `NoAnnounce`.
#[derive(Debug, Clone, Default)]
pub struct Announce {
    /// Told instead of the interfaces' addresses, unless it is empty.
    pub instead: Vec<Multiaddr>,
    /// Told as well.
    pub also: Vec<Multiaddr>,
    /// Never told.
    pub hidden: Vec<Multiaddr>,
    /// Nothing in these ranges is told.
    pub hidden_masks: Vec<Mask>,
}

impl Announce {
    /// What is told by a node that listens on `own`; sorted by text.
    pub(super) fn announced(&self, own: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let mut addresses = if self.instead.is_empty() { own } else { self.instead.clone() };
        addresses.extend(self.also.iter().cloned());
        addresses.retain(|address| !self.hides(address));
        addresses.sort_by_key(Multiaddr::to_string);
        addresses.dedup();
        addresses
    }

    /// Whether the config forbids to tell of an address.
    pub(super) fn hides(&self, address: &Multiaddr) -> bool {
        let ip = ip_of(address);
        self.hidden.contains(address)
            || self.hidden_masks.iter().any(|mask| ip.is_some_and(|ip| mask.contains(ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_config_changes_what_is_told() {
        let own = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"]);
        let mut announce = Announce::default();
        let sorted = addresses(&["/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1"]);
        assert_eq!(announce.announced(own.clone()), sorted);
        announce.also = addresses(&["/ip4/1.2.3.4/tcp/9"]);
        announce.hidden_masks = vec![Mask::parse("/ip4/127.0.0.0/ipcidr/8").unwrap()];
        let told = addresses(&["/ip4/1.2.3.4/tcp/9", "/ip4/10.0.0.1/tcp/1"]);
        assert_eq!(announce.announced(own.clone()), told);
        announce.instead = addresses(&["/dns4/example.com/tcp/1"]);
        announce.hidden = addresses(&["/ip4/1.2.3.4/tcp/9"]);
        assert_eq!(announce.announced(own), addresses(&["/dns4/example.com/tcp/1"]));
    }
}
