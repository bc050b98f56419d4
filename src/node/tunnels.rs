//! Tunnels for those who have asked for them: `Experimental.Libp2pStreamMounting`.

use super::about::PROTOCOLS;
use super::{Error, Node};
use crate::net;
use crate::tunnel::{Endpoint, Match, Tunnels};

pub use crate::tunnel::{Carried, Listener, Made};

/// What turns them on.
const SWITCH: &str = "Experimental.Libp2pStreamMounting";

/// What the names of protocols begin with when nothing else is asked for.
const NAMESPACE: &str = "/x/";

/// What a listener is made of, besides its addresses.
#[derive(Debug, Clone, Default)]
pub struct ListenOptions {
    /// The protocol of its streams.
    pub protocol: String,
    /// Whether the protocol may be outside of `/x/`.
    pub allow_custom: bool,
    /// Whether the id of the peer goes before what it sends.
    pub reports_peer: bool,
}

/// Which listeners to close, as text; all of what is given has to fit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Closed<'a> {
    /// The protocol.
    pub protocol: Option<&'a str>,
    /// Where it takes connections: a multiaddr.
    pub listen: Option<&'a str>,
    /// Where it takes them to: a multiaddr.
    pub target: Option<&'a str>,
}

impl Node {
    /// # Errors
    /// When the config does not allow tunnels, or the node is offline.
    fn tunnels(&self) -> Result<&Tunnels, Error> {
        if self.config_flag(SWITCH) != Some(true) {
            return Err(Error::failed("libp2p stream mounting not enabled"));
        }
        self.0.tunnels.as_ref().ok_or(Error::CommandOffline)
    }

    /// Takes connections at the address `at` to the protocol of the peer that `target` names.
    ///
    /// # Errors
    /// When there are no tunnels, an argument is wrong, or the address cannot be listened on.
    pub async fn forward_connections(
        &self,
        options: &ListenOptions,
        at: &str,
        target: &str,
    ) -> Result<Made, Error> {
        let tunnels = self.tunnels()?;
        let at = net::parse_multiaddr(at).map_err(Error::failed)?;
        let target = net::parse_multiaddr(target).map_err(Error::failed)?;
        let (place, peer) = net::split_peer(target).map_err(Error::failed)?;
        options.check_name()?;
        let at = Endpoint::new(at).map_err(Error::failed)?;
        if !place.is_empty() {
            self.online()?.add_addresses(peer, vec![place]);
        }
        tunnels.forward(&options.protocol, &at, peer).await.map_err(Error::failed)
    }

    /// Takes the streams of a protocol to the address `target`.
    ///
    /// # Errors
    /// When there are no tunnels, an argument is wrong, or the protocol is taken.
    pub async fn serve_streams(
        &self,
        options: &ListenOptions,
        target: &str,
    ) -> Result<Made, Error> {
        let tunnels = self.tunnels()?;
        let target = net::parse_multiaddr(target).map_err(Error::failed)?;
        let target = Endpoint::new(target).map_err(Error::failed)?;
        if target.port == 0 {
            return Err(Error::failed("port can not be 0"));
        }
        options.check_name()?;
        let name = options.protocol.as_str();
        let is_own = PROTOCOLS.contains(&name) || name.starts_with(net::OWN_PROTOCOLS);
        if is_own && name != NAMESPACE {
            return Err(Error::failed(format!("the node itself speaks {name}")));
        }
        let made = tunnels.serve(name, target, options.reports_peer);
        made.await.map_err(Error::failed)
    }

    /// The listeners of the tunnels.
    ///
    /// # Errors
    /// When there are no tunnels.
    pub fn tunnel_listeners(&self) -> Result<Vec<Listener>, Error> {
        Ok(self.tunnels()?.listeners())
    }

    /// Closes listeners, but not what they carry: all of them for `None`. Tells how many.
    ///
    /// # Errors
    /// When there are no tunnels, or an address is none.
    pub fn close_tunnels(&self, wanted: Closed<'_>) -> Result<usize, Error> {
        Ok(self.tunnels()?.close(&wanted.parse()?))
    }

    /// Whether there are tunnels, and `wanted` is well-formed.
    ///
    /// # Errors
    /// When there are none, or an address is none.
    pub fn check_tunnels(&self, wanted: Closed<'_>) -> Result<(), Error> {
        self.tunnels()?;
        wanted.parse().map(drop)
    }

    /// What is carried at the moment.
    ///
    /// # Errors
    /// When there are no tunnels.
    pub fn carried(&self) -> Result<Vec<Carried>, Error> {
        Ok(self.tunnels()?.streams())
    }

    /// Breaks what is carried under an id off, or everything. That there is none is no error.
    ///
    /// # Errors
    /// When there are no tunnels.
    pub fn reset_carried(&self, id: Option<u64>) -> Result<(), Error> {
        self.tunnels()?.reset(id);
        Ok(())
    }
}

impl Closed<'_> {
    fn parse(self) -> Result<Match, Error> {
        let parse = |text: Option<&str>| text.map(net::parse_multiaddr).transpose();
        Ok(Match {
            protocol: self.protocol.map(str::to_owned),
            listen: parse(self.listen).map_err(Error::failed)?,
            target: parse(self.target).map_err(Error::failed)?,
        })
    }
}

impl ListenOptions {
    fn check_name(&self) -> Result<(), Error> {
        if self.allow_custom || self.protocol.starts_with(NAMESPACE) {
            return Ok(());
        }
        Err(Error::failed(format!("protocol name must be within '{NAMESPACE}' namespace")))
    }
}
