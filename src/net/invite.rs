//! An invitation: the one line by which a node joins a private network.
//!
//! It holds the swarm key and where members are, so it is as secret as the key, and says so in its
//! first word. Errors never repeat it. Holds no state.
//!
//! ```text
//! SECRET:pinmesh-join-1:<key and check, base64url>:<multiaddr with peer ID>,<multiaddr …>
//! ```
//!
//! The check is the first four bytes of the key's fingerprint: a line that was cut or mistyped is
//! refused, and the addresses may still be changed by hand.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Multiaddr, SwarmKey, parse_multiaddr, split_peer};

/// How a line begins.
const MARK: &str = "SECRET:";
/// The version of the format.
const FORMAT: &str = "pinmesh-join-1";
/// The environment variable that holds a line; it may stand before the line, as it is printed.
pub const VARIABLE: &str = "IPFS_JOIN";
/// How many bytes of the fingerprint follow the key.
const CHECK_BYTES: usize = 4;

/// What an invitation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The network's key.
    pub key: SwarmKey,
    /// Where members are; each address ends in a peer ID. Without any, the newcomer has to be found.
    pub addresses: Vec<Multiaddr>,
}

/// Why a text is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It is something else, or of a later version.
    #[error("this is no invitation: one begins with {MARK}{FORMAT}: and 'swarm invite' prints it")]
    Format,
    /// The key does not fit its check.
    #[error(
        "the key in the invitation is damaged: copy the whole line that 'swarm invite' printed"
    )]
    Key,
    /// An address is none, or says no peer.
    #[error("address {0} of the invitation is no multiaddr that ends in /p2p/<peer ID>")]
    Address(usize),
}

impl Invite {
    /// Whether a text looks like a line, and not like the name of a file.
    #[must_use]
    pub fn is_line(text: &str) -> bool {
        without_variable(text).starts_with(MARK)
    }

    /// Reads a line, with or without `IPFS_JOIN=` before it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, InviteError> {
        let rest = without_variable(text).strip_prefix(MARK).ok_or(InviteError::Format)?;
        let rest = rest.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix(':'));
        // Addresses have colons too, the fields before them do not.
        let (key, addresses) = rest.ok_or(InviteError::Format)?.split_once(':').unwrap_or_default();
        let key = parse_key(key).ok_or(InviteError::Key)?;
        let texts = addresses.split(',').filter(|text| !text.is_empty()).enumerate();
        let addresses = texts
            .map(|(index, text)| {
                let invalid = |_| InviteError::Address(index + 1);
                let address = parse_multiaddr(text).map_err(invalid)?;
                split_peer(address.clone()).map_err(invalid)?;
                Ok(address)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { key, addresses })
    }

    /// The line. A secret.
    #[must_use]
    pub fn to_line(&self) -> String {
        let checked = [&self.key.psk()[..], &check(&self.key)].concat();
        let key = URL_SAFE_NO_PAD.encode(checked);
        let addresses: Vec<String> = self.addresses.iter().map(Multiaddr::to_string).collect();
        format!("{VARIABLE}={MARK}{FORMAT}:{key}:{}", addresses.join(","))
    }
}

fn without_variable(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix(VARIABLE).and_then(|rest| rest.strip_prefix('=')).unwrap_or(text)
}

fn parse_key(text: &str) -> Option<SwarmKey> {
    let checked = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (key, given) = checked.split_first_chunk()?;
    let key = SwarmKey::from_bytes(*key);
    (given == check(&key)).then_some(key)
}

fn check(key: &SwarmKey) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    let fingerprint = key.fingerprint_bytes();
    check.iter_mut().zip(fingerprint).for_each(|(check, byte)| *check = byte);
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: &str = "12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq";

    fn invite() -> Invite {
        let addresses = ["/ip4/10.0.0.11/tcp/4001", "/ip6/fd00::1/tcp/4001", "/dns/a.lan/tcp/1"];
        let addresses = addresses.map(|text| format!("{text}/p2p/{PEER}").parse().unwrap());
        Invite { key: SwarmKey::from_bytes([7; 32]), addresses: addresses.to_vec() }
    }

    #[test]
    fn what_is_printed_is_read_with_and_without_the_name_of_the_variable() {
        let line = invite().to_line();
        assert!(line.starts_with("IPFS_JOIN=SECRET:pinmesh-join-1:BwcH"), "{line}");
        assert_eq!(Invite::parse(&line), Ok(invite()));
        let bare = line.trim_start_matches("IPFS_JOIN=");
        assert_eq!(Invite::parse(&format!(" {bare}\r\n")), Ok(invite()));
        assert!(Invite::is_line(&line) && Invite::is_line(bare));
        assert!(!Invite::is_line("./SECRET:join.txt"));
    }

    #[test]
    fn nobody_has_to_be_named() {
        let alone = Invite { addresses: Vec::new(), ..invite() };
        assert_eq!(Invite::parse(&alone.to_line()), Ok(alone));
    }

    #[test]
    fn a_line_that_was_cut_or_mistyped_is_refused() {
        let line = invite().to_line();
        let key = line.split(':').nth(2).unwrap().to_owned();
        let flipped = key.replacen("BwcH", "BwcI", 1);
        for (text, error) in [
            (line.replace("SECRET:", ""), InviteError::Format),
            (line.replace("join-1", "join-2"), InviteError::Format),
            ("SECRET:pinmesh-join-1".to_owned(), InviteError::Format),
            (line.replace(&key, &flipped), InviteError::Key),
            (line.replace(&key, &key[1..]), InviteError::Key),
            (line.replace(&key, ""), InviteError::Key),
            (line[..line.len() - 60].to_owned(), InviteError::Address(3)),
            (format!("{line},/ip4/1.2.3.4/tcp/1"), InviteError::Address(4)),
        ] {
            assert_eq!(Invite::parse(&text), Err(error), "{text}");
            assert!(!error.to_string().contains(&key[..8]));
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert!(!format!("{:?}", invite()).contains("7, 7"), "{:?}", invite());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(key in ".{0,60}", addresses in ".{0,80}") {
            let line = format!("{MARK}{FORMAT}:{key}:{addresses}");
            if let Ok(invite) = Invite::parse(&line) {
                prop_assert_eq!(Invite::parse(&invite.to_line()), Ok(invite));
            }
        }
    }
}
