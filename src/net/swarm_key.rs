//! The swarm key: the 32 bytes that every member of a private network holds.
//!
//! Reads and writes the text that Kubo calls `swarm.key` (go-libp2p `core/pnet/codec.go`); the file
//! belongs to `repo`. The key is a secret: it has no `Display`, its `Debug` shows the fingerprint,
//! and no error repeats what stood where a key may stand. Holds no state.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use libp2p::pnet::PreSharedKey;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::ipld::quote::describe_char;

/// The first line of the file.
const HEADER: &str = "/key/swarm/psk/1.0.0/";
/// How many bytes a key has.
const KEY_BYTES: usize = 32;
/// How many characters a key has in hexadecimal.
const BASE16_CHARS: usize = 2 * KEY_BYTES;
/// How many characters a key has in base64, its padding included.
const BASE64_CHARS: usize = 44;
/// How many characters Go decodes at a time when it is asked for a key: errors count from there.
const BASE64_FIRST_READ: usize = 40;
/// The longest encoding line that an error repeats; a longer one may be the key itself.
const ENCODING_SHOWN_MAX: usize = 16;

/// What Argon2id makes a key of a passphrase with; all members must have the same.
const PASSPHRASE_SALT: &[u8] = b"pinmesh swarm.key 1";
/// Memory that it takes, in KiB.
const PASSPHRASE_KIB: u32 = 64 * 1024;
/// Passes over that memory.
const PASSPHRASE_PASSES: u32 = 3;
/// Lanes, which would be threads.
const PASSPHRASE_LANES: u32 = 1;

/// Base64 as Go's `StdEncoding` reads it: padded, and whatever the unused bits are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The secret of a private network.
#[derive(Clone, PartialEq, Eq)]
pub struct SwarmKey([u8; KEY_BYTES]);

/// Why a text is no swarm key. The texts are Kubo's, but they never repeat a line that may be the
/// key: Kubo's do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwarmKeyError {
    /// It ends before the key begins.
    #[error("EOF")]
    Missing,
    /// It ends within the key.
    #[error("unexpected EOF")]
    Short,
    /// The first line is another one.
    #[error("expected file header {HEADER}")]
    Header,
    /// The second line names no encoding that is known.
    #[error("unknown encoding: {0}")]
    Encoding(String),
    /// A byte that no hexadecimal number has.
    #[error("encoding/hex: invalid byte: {0}")]
    Base16(String),
    /// A byte that does not belong into base64.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// No key can be made of a passphrase.
    #[error("no key can be made of the passphrase: {0}")]
    Passphrase(String),
    /// The system gives no random numbers.
    #[error("cannot make a swarm key: the system gives no random numbers")]
    NoRandom,
}

impl SwarmKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, SwarmKeyError> {
        let mut key = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut key).map_err(|_| SwarmKeyError::NoRandom)?;
        Ok(Self(key))
    }

    /// The key with these bytes.
    #[must_use]
    pub fn from_bytes(key: [u8; KEY_BYTES]) -> Self {
        Self(key)
    }

    /// The key of a passphrase: Argon2id 1.3, 64 MiB, 3 passes, 1 lane. The salt is fixed, because
    /// every member makes the same key by itself. Takes a fraction of a second.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn from_passphrase(passphrase: &str) -> Result<Self, SwarmKeyError> {
        let failed = |error: argon2::Error| SwarmKeyError::Passphrase(error.to_string());
        let params = argon2::Params::new(
            PASSPHRASE_KIB,
            PASSPHRASE_PASSES,
            PASSPHRASE_LANES,
            Some(KEY_BYTES),
        );
        let argon2 = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            params.map_err(failed)?,
        );
        let mut key = [0; KEY_BYTES];
        argon2
            .hash_password_into(passphrase.as_bytes(), PASSPHRASE_SALT, &mut key)
            .map_err(failed)?;
        Ok(Self(key))
    }

    /// Reads the content of a `swarm.key`: header, encoding and key, each on a line of its own that
    /// ends in LF or CRLF. As in Kubo, what follows the key is passed over.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(file: &[u8]) -> Result<Self, SwarmKeyError> {
        let (header, rest) = line(file)?;
        if header != HEADER.as_bytes() {
            return Err(SwarmKeyError::Header);
        }
        let (encoding, rest) = line(rest)?;
        let key = match encoding {
            b"/base16/" => base16(rest)?,
            b"/base64/" => base64(rest)?,
            b"/bin/" => rest.to_vec(),
            other => return Err(SwarmKeyError::Encoding(shown(other))),
        };
        match key.first_chunk() {
            Some(key) => Ok(Self(*key)),
            None if key.is_empty() => Err(SwarmKeyError::Missing),
            None => Err(SwarmKeyError::Short),
        }
    }

    /// The content of a `swarm.key` with this key. A secret.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        let mut text = format!("{HEADER}\n/base16/\n");
        for byte in self.0 {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push('\n');
        text
    }

    /// The key itself. A secret.
    #[must_use]
    pub fn psk(&self) -> [u8; KEY_BYTES] {
        self.0
    }

    /// What may be shown of the key: 32 hexadecimal digits, those that Kubo prints at its start
    /// (`core/node/libp2p/pnet.go`). Nodes with equal ones can speak to each other.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        PreSharedKey::new(self.0).fingerprint().to_string()
    }

    /// The bytes of the fingerprint.
    pub(super) fn fingerprint_bytes(&self) -> Vec<u8> {
        let digits: Vec<u32> =
            self.fingerprint().chars().filter_map(|digit| digit.to_digit(16)).collect();
        bytes_of(&digits)
    }
}

impl fmt::Debug for SwarmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwarmKey(fingerprint {})", self.fingerprint())
    }
}

/// The first line, without its end, and what follows it.
fn line(text: &[u8]) -> Result<(&[u8], &[u8]), SwarmKeyError> {
    let end = memchr::memchr(b'\n', text).ok_or(SwarmKeyError::Missing)?;
    let (line, rest) = text.split_at(end);
    let trimmed = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    Ok((line.get(..trimmed).unwrap_or_default(), rest.get(1..).unwrap_or_default()))
}

/// The encoding line for an error, unless it may be the key.
fn shown(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(name) if is_encoding_name(name) => name.to_owned(),
        _ => "the second line is not /base16/, /base64/ or /bin/".to_owned(),
    }
}

fn is_encoding_name(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    text.starts_with('/') && text.len() <= ENCODING_SHOWN_MAX && is_plain
}

/// Decodes as many of the key's bytes as there are.
fn base16(text: &[u8]) -> Result<Vec<u8>, SwarmKeyError> {
    let digits = text.get(..BASE16_CHARS).unwrap_or(text);
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    if let Some(invalid) = digits.iter().find(|byte| digit(byte).is_none()) {
        return Err(SwarmKeyError::Base16(describe_char(char::from(*invalid))));
    }
    if digits.len() % 2 == 1 {
        return Err(SwarmKeyError::Short);
    }
    Ok(bytes_of(&digits.iter().filter_map(digit).collect::<Vec<_>>()))
}

/// The bytes that pairs of hexadecimal digits stand for.
fn bytes_of(digits: &[u32]) -> Vec<u8> {
    let byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    // Two digits make a byte, so nothing is left out.
    digits.chunks(2).map(byte).filter_map(|byte| u8::try_from(byte).ok()).collect()
}

/// Decodes as many of the key's bytes as there are.
fn base64(text: &[u8]) -> Result<Vec<u8>, SwarmKeyError> {
    let letters = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    let letters: Vec<u8> = letters.take(BASE64_CHARS).collect();
    let mut key = Vec::with_capacity(KEY_BYTES);
    for part in letters.chunks(BASE64_FIRST_READ) {
        if part.len() % 4 != 0 && part.iter().all(|byte| is_base64(*byte)) {
            return Err(SwarmKeyError::Short);
        }
        let decoded = BASE64.decode(part).map_err(|error| match error {
            base64::DecodeError::InvalidByte(at, _) => SwarmKeyError::Base64(at),
            _ => SwarmKeyError::Short,
        })?;
        key.extend(decoded);
    }
    Ok(key)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The key whose bytes are 0, 1, 2, … 31, in each encoding.
    const BASE16: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const IN_BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn counting() -> SwarmKey {
        SwarmKey(std::array::from_fn(|index| u8::try_from(index).unwrap()))
    }

    fn file(encoding: &str, newline: &str, key: &[u8]) -> Vec<u8> {
        [format!("{HEADER}{newline}{encoding}{newline}").as_bytes(), key].concat()
    }

    #[test]
    fn every_encoding_is_read_with_either_end_of_line() {
        let key = counting();
        for newline in ["\n", "\r\n"] {
            for end in ["", "\n", "\r\n", "and more"] {
                for (encoding, text) in [
                    ("/base16/", BASE16.as_bytes()),
                    ("/base16/", BASE16.to_uppercase().as_bytes()),
                    ("/base64/", IN_BASE64.as_bytes()),
                    ("/bin/", &key.psk()),
                ] {
                    let file = file(encoding, newline, &[text, end.as_bytes()].concat());
                    assert_eq!(SwarmKey::parse(&file), Ok(key.clone()), "{encoding} {newline:?}");
                }
            }
        }
        let (first, second) = IN_BASE64.split_at(20);
        let folded = file("/base64/", "\n", format!("{first}\r\n{second}\n").as_bytes());
        assert_eq!(SwarmKey::parse(&folded), Ok(key));
    }

    #[test]
    fn the_key_of_a_passphrase_never_changes() {
        let key = SwarmKey::from_passphrase("mySecretKey").unwrap();
        assert_eq!(key, SwarmKey::from_passphrase("mySecretKey").unwrap());
        assert_ne!(key, SwarmKey::from_passphrase("mySecretKez").unwrap());
        assert_eq!(key.fingerprint(), "c9b1370fbd54bec5b3ce3aa16e084035");
    }

    #[test]
    fn what_is_no_key_is_an_error_in_kubos_words() {
        let cases: [(Vec<u8>, &str); 15] = [
            (b"".to_vec(), "EOF"),
            (HEADER.as_bytes().to_vec(), "EOF"),
            (b"hello\n".to_vec(), "expected file header /key/swarm/psk/1.0.0/"),
            (format!("{HEADER}\n/base16/").into_bytes(), "EOF"),
            (file("/base32/", "\n", b"xx"), "unknown encoding: /base32/"),
            (file("/base16/", "\n", b""), "EOF"),
            (file("/base16/", "\n", b"00"), "unexpected EOF"),
            (file("/base16/", "\n", b"0"), "unexpected EOF"),
            (file("/base16/", "\n", b"zz"), "encoding/hex: invalid byte: U+007A 'z'"),
            (file("/base16/", "\n", b"00\n"), "encoding/hex: invalid byte: U+000A"),
            (file("/base64/", "\n", b""), "EOF"),
            (file("/base64/", "\n", b"AAEC\n"), "unexpected EOF"),
            (file("/base64/", "\n", b"AAE"), "unexpected EOF"),
            (file("/base64/", "\n", b"AA!C"), "illegal base64 data at input byte 2"),
            (file("/bin/", "\n", &[7; 31]), "unexpected EOF"),
        ];
        for (file, text) in cases {
            let error = SwarmKey::parse(&file).unwrap_err().to_string();
            assert_eq!(error, text, "{:?}", String::from_utf8_lossy(&file));
        }
    }

    #[test]
    fn no_error_and_no_debug_output_repeats_the_key() {
        let key = counting();
        // The header, or the encoding, was left out.
        for file in [format!("{BASE16}\n"), format!("{HEADER}\n{BASE16}\n"), key.to_file_text()] {
            let shown = format!("{:?}", SwarmKey::parse(file.as_bytes()));
            assert!(!shown.contains(&BASE16[..8]), "{shown}");
        }
        assert!(format!("{key:?}").contains(&key.fingerprint()));
    }

    #[test]
    fn the_fingerprint_is_that_of_kubo() {
        assert_eq!(counting().fingerprint(), "41dfbf48d882a8ee665983adfa7a48f7");
    }

    #[test]
    fn a_new_key_is_another_one_each_time() {
        let (one, two) = (SwarmKey::generate().unwrap(), SwarmKey::generate().unwrap());
        assert_ne!(one, two);
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    proptest! {
        #[test]
        fn a_key_survives_its_text(bytes: [u8; KEY_BYTES]) {
            let key = SwarmKey::from_bytes(bytes);
            prop_assert_eq!(SwarmKey::parse(key.to_file_text().as_bytes()), Ok(key));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            encoding in "/(base16|base64|bin)/|.{0,20}",
            key in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            if let Ok(key) = SwarmKey::parse(&file(&encoding, "\n", &key)) {
                prop_assert_eq!(SwarmKey::parse(key.to_file_text().as_bytes()), Ok(key));
            }
        }
    }
}
