//! Address filters: `/ip4/…/ipcidr/…` masks of `Swarm.AddrFilters`.

use std::fmt;
use std::net::IpAddr;

/// The addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a text is no mask; the texts are those of multiaddr-filter and Go's `net`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// Not of the form `/ip4/…/ipcidr/…`.
    #[error("invalid multiaddr-filter format")]
    Format,
    /// Of that form, but the address or the length is none.
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
}

impl Mask {
    /// Parses `/ip4/10.0.0.0/ipcidr/8` and the like.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, MaskError> {
        let parts: Vec<&str> = text.split('/').collect();
        let &["", "ip4" | "ip6", address, "ipcidr", len] = parts.as_slice() else {
            return Err(MaskError::Format);
        };
        let invalid = || MaskError::Cidr(format!("{address}/{len}"));
        let ip: IpAddr = address.parse().map_err(|_| invalid())?;
        let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_len: u8 = len.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
        if u32::from(prefix_len) > bits(ip) {
            return Err(invalid());
        }
        Ok(Self { address: network(ip, prefix_len), prefix_len })
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && network(address, self.prefix_len) == self.address
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.address.is_ipv4() { "ip4" } else { "ip6" };
        write!(f, "/{family}/{}/ipcidr/{}", self.address, self.prefix_len)
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits behind the prefix cleared.
fn network(address: IpAddr, prefix_len: u8) -> IpAddr {
    let cleared = bits(address) - u32::from(prefix_len);
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(cleared).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(cleared).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_shown_as_its_network_and_matches_only_that() {
        let mask = Mask::parse("/ip4/192.168.7.1/ipcidr/16").unwrap();
        assert_eq!(mask.to_string(), "/ip4/192.168.0.0/ipcidr/16");
        assert!(mask.contains("192.168.200.3".parse().unwrap()));
        assert!(!mask.contains("192.169.0.1".parse().unwrap()));
        assert!(!mask.contains("::1".parse().unwrap()));
        assert!(Mask::parse("/ip6/::/ipcidr/0").unwrap().contains("fe80::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_mask_says_why() {
        for text in ["nope", "/ip4/10.0.0.0/tcp/1", "/ip4/10.0.0.0/ipcidr", "", "/ip4//ipcidr/8/"] {
            assert_eq!(Mask::parse(text), Err(MaskError::Format), "{text}");
        }
        for text in ["/ip4/10.0.0/ipcidr/8", "/ip4/10.0.0.0/ipcidr/33", "/ip4/10.0.0.0/ipcidr/+8"] {
            assert!(matches!(Mask::parse(text), Err(MaskError::Cidr(_))), "{text}");
        }
    }
}
