//! `cid/format` and `cid/base32`.

use super::*;

/// A CID in another form, or why there is none.
#[derive(Debug, Serialize)]
#[serde(rename = "commands.CidFormatRes", rename_all = "PascalCase")]
struct Formatted {
    cid_str: String,
    formatted: String,
    error_msg: String,
}

impl Value for Formatted {}

/// What to make of each CID.
#[derive(Debug)]
struct Conversion {
    format: String,
    base: Option<Base>,
    codec: Option<u64>,
    version: Option<Version>,
}

/// `cid/base32`.
pub(in super::super) async fn base32(request: Request) -> Result<Reply, Error> {
    Ok(convert_all(
        request,
        Conversion {
            format: "%s".to_owned(),
            base: Some(Base::Base32Lower),
            codec: None,
            version: Some(Version::V1),
        },
    ))
}

/// `cid/format`.
pub(in super::super) async fn format(request: Request) -> Result<Reply, Error> {
    let conversion = conversion(&request)?;
    Ok(convert_all(request, conversion))
}

fn conversion(request: &Request) -> Result<Conversion, Error> {
    let options = &request.options;
    let given = |name| Some(options.string(name)).filter(|text| !text.is_empty());
    let format = options.string("f").to_owned();
    if !format.contains('%') {
        return Err(Error::new(format!("invalid format string: {}", quote(&format))));
    }
    let codec = given("mc").map(codec::parse).transpose();
    // Zero is identity, which is no codec of content, and stands for none.
    let codec = codec.map_err(|error| Error::new(error.to_string()))?.filter(|codec| *codec != 0);
    let base = given("b");
    let version = match given("v") {
        None => base.map(|_| Version::V1),
        Some("0") if codec.is_some_and(|codec| codec != codec::DAG_PB) => {
            let text = "cannot convert to CIDv0 with any codec other than dag-pb";
            return Err(Error::new(text));
        }
        Some("0") if base.is_some_and(|base| base != "base58btc") => {
            return Err(Error::new(
                "cannot convert to CIDv0 with any multibase other than the implicit base58btc",
            ));
        }
        Some("0") => Some(Version::V0),
        Some("1") => Some(Version::V1),
        Some(other) => return Err(Error::new(format!("invalid cid version: {}", quote(other)))),
    };
    let base = base.map(base::by_name).transpose().map_err(|e| Error::new(e.to_string()))?;
    Ok(Conversion { format, base, codec, version })
}

/// Each argument as it comes, those of the body one by one.
fn convert_all(request: Request, conversion: Conversion) -> Reply {
    Reply::many(stream::try_unfold((request, conversion), |(mut request, conversion)| async {
        let is_in_body = request.args.is_empty();
        let Some(mut text) = request.next_arg().await? else { return Ok(None) };
        if is_in_body {
            text = text.trim().to_owned();
        }
        let (formatted, error_msg) = match conversion.apply(&text) {
            Ok(formatted) => (formatted, String::new()),
            Err(Failure::Cid(error)) => (String::new(), error),
            Err(Failure::Format(error)) => return Err(error),
        };
        let value = Formatted { cid_str: text, formatted, error_msg };
        Ok(Some((value, (request, conversion))))
    }))
}

/// Why there is no other form.
enum Failure {
    /// The CID is to blame: the next may do.
    Cid(String),
    /// The format is to blame: the command ends.
    Format(Error),
}

impl Conversion {
    fn apply(&self, text: &str) -> Result<String, Failure> {
        let failed = |error: CidError| Failure::Cid(error.to_string());
        let mut cid = Cid::parse(text).map_err(failed)?;
        if let Some(codec) = self.codec.filter(|codec| *codec != cid.codec()) {
            cid = Cid::new_v1(codec, cid.hash().clone());
        }
        cid = match self.version {
            None => cid,
            Some(Version::V1) => cid.to_v1(),
            Some(Version::V0) if cid.codec() != codec::DAG_PB => {
                return Err(Failure::Cid("can't convert non-dag-pb nodes to cidv0".to_owned()));
            }
            // go-cid panics here, and Kubo answers with the text of every panic.
            Some(Version::V0) => {
                as_v0(&cid).ok_or_else(|| Failure::Format(Error::new("an error occurred")))?
            }
        };
        let base = match (self.base, cid.version()) {
            (Some(base), _) => base,
            (None, Version::V0) => Base::Base58Btc,
            (None, Version::V1) => Cid::base_of(text)
                .map_err(|_| Failure::Cid("unsupported multibase encoding: -1".to_owned()))?,
        };
        self.write(&cid, base)
    }

    fn write(&self, cid: &Cid, base: Base) -> Result<String, Failure> {
        let mut out = Vec::new();
        let mut bytes = self.format.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                out.push(byte);
                continue;
            }
            let Some(verb) = bytes.next() else {
                return Err(Failure::Format(Error::new("premature end of format string")));
            };
            if !write_verb(verb, cid, base, &mut out) {
                let verb = String::from_utf8_lossy(&[b'%', verb]).into_owned();
                let text = format!("unrecognized specifier in format string: {verb}");
                return Err(Failure::Format(Error::new(text)));
            }
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}

/// Appends what `%<verb>` stands for; false when it stands for nothing.
fn write_verb(verb: u8, cid: &Cid, base: Base, out: &mut Vec<u8>) -> bool {
    let (code, digest) = (cid.hash().code(), cid.hash().digest());
    let version = u8::from(cid.version() == Version::V1);
    let codec_name = || codec::display_name(cid.codec());
    let hash_name = || hash::name(code).unwrap_or_else(|| format!("hash?{code}").into());
    let text = match verb {
        b'%' => "%".to_owned(),
        b'b' => base::name(base).to_owned(),
        b'v' => format!("cidv{version}"),
        b'V' => version.to_string(),
        b'c' => codec_name().into_owned(),
        b'C' => cid.codec().to_string(),
        b'h' => hash_name().into_owned(),
        b'H' => code.to_string(),
        b'L' => digest.len().to_string(),
        b's' => cid.to_text(base),
        b'P' => format!("cidv{version}-{}-{}-{}", codec_name(), hash_name(), digest.len()),
        // One byte, also for base256emoji, of whose character go-cidutil takes the lowest.
        b'B' => {
            out.push(u32::from(base.code()) as u8);
            return true;
        }
        b'm' | b'M' | b'd' | b'D' | b'S' => {
            let bytes = match verb {
                b'm' | b'M' => cid.hash().as_bytes().to_vec(),
                b'S' => cid.to_bytes(),
                _ => digest.to_vec(),
            };
            let strip = usize::from(verb.is_ascii_uppercase());
            out.extend(base::encode(base, &bytes).into_iter().skip(strip));
            return true;
        }
        _ => return false,
    };
    out.extend_from_slice(text.as_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    const V1: &str = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354";

    fn conversion(format: &str) -> Conversion {
        Conversion { format: format.to_owned(), base: None, codec: None, version: None }
    }

    fn said(conversion: &Conversion, text: &str) -> String {
        match conversion.apply(text) {
            Ok(text) => text,
            Err(Failure::Cid(error)) => format!("cid: {error}"),
            Err(Failure::Format(error)) => format!("format: {error}"),
        }
    }

    #[test]
    fn verbs_are_replaced_and_the_rest_is_kept() {
        let cases = [
            ("%% x %s", V0, "% x QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"),
            ("%b %B %v %V", V0, "base58btc z cidv0 0"),
            ("%c %C %h %H %L", V1, "dag-pb 112 sha2-256 18 32"),
            ("%P", V1, "cidv1-dag-pb-sha2-256-32"),
            ("%M", V0, V0),
            ("%S", V1, "afybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
            ("%x", V0, "format: unrecognized specifier in format string: %x"),
            ("x%", V0, "format: premature end of format string"),
            ("%s", "nope", "cid: invalid cid: selected encoding not supported"),
        ];
        for (format, text, expected) in cases {
            assert_eq!(said(&conversion(format), text), expected, "{format}");
        }
    }

    #[test]
    fn versions_bases_and_codecs_are_changed() {
        let base =
            |base| Conversion { base: Some(base), version: Some(Version::V1), ..conversion("%s") };
        let to_v0 = Conversion { version: Some(Version::V0), ..conversion("%s") };
        let to_raw = Conversion { codec: Some(codec::RAW), ..conversion("%s") };
        let v0_in_base36 = "k2jmtxtlhjl3fhmgndf92e48by79ryjuvqp3y2qgehpao6v3lurvnmcv";
        assert_eq!(said(&base(Base::Base36Lower), V0), v0_in_base36);
        assert_eq!(said(&base(Base::Base32Lower), V0), V1);
        assert_eq!(said(&to_v0, V1), V0);
        assert_eq!(said(&to_raw, V0), "zb2rhcfxpvbQ3Tzy7CWPbWpXjiyqgj1kYQakS5gBKyhUC8DaW");
        let raw = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
        assert_eq!(said(&to_v0, raw), "cid: can't convert non-dag-pb nodes to cidv0");
    }
}
