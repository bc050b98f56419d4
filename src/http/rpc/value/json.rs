//! JSON as Go's `encoding/json` writes it.
//!
//! Compact; `<`, `>`, `&`, U+2028 and U+2029 escaped; map keys sorted; bytes in base64; floats in
//! Go's shortest form. Writes into the caller's buffer, no intermediate tree: `pin/ls` emits a
//! million of these.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{FORMS, LINK, OMIT, Unsupported};

/// Appends `value`.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    let mut json = Json { out, inline: None };
    value.serialize(&mut json)?;
    Ok(())
}

struct Json<'a> {
    out: &'a mut Vec<u8>,
    /// Set when the next struct is embedded: its fields go into the object that is open, and this
    /// says whether that one is still empty.
    inline: Option<bool>,
}

/// Whether something was written: `false` for an omitted field.
type Written = bool;

/// What [`escape`] has to do with a byte.
const PLAIN: u8 = 0;
const ESCAPE: u8 = 1;
const MAYBE_WIDE: u8 = 2;

#[expect(clippy::indexing_slicing, reason = "a table of 256 built at compile time")]
const CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut i = 0;
    while i < 0x20 {
        class[i] = ESCAPE;
        i += 1;
    }
    class[b'"' as usize] = ESCAPE;
    class[b'\\' as usize] = ESCAPE;
    class[b'<' as usize] = ESCAPE;
    class[b'>' as usize] = ESCAPE;
    class[b'&' as usize] = ESCAPE;
    class[0xe2] = MAYBE_WIDE;
    class[0xef] = MAYBE_WIDE;
    class
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a JSON string.
#[expect(clippy::indexing_slicing, reason = "offsets come from the enumeration of the same bytes")]
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut done = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        match CLASS[usize::from(byte)] {
            PLAIN => {}
            MAYBE_WIDE => {
                let escaped: &[u8] = match bytes.get(i + 1..i + 3) {
                    Some([0x80, 0xa8]) if byte == 0xe2 => b"\\u2028",
                    Some([0x80, 0xa9]) if byte == 0xe2 => b"\\u2029",
                    // Text here is UTF-8: this stands for a byte that was not.
                    Some([0xbf, 0xbd]) if byte == 0xef => b"\\ufffd",
                    _ => continue,
                };
                out.extend_from_slice(&bytes[done..i]);
                out.extend_from_slice(escaped);
                done = i + 3;
            }
            _ => {
                out.extend_from_slice(&bytes[done..i]);
                done = i + 1;
                match byte {
                    b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    0x08 => out.extend_from_slice(b"\\b"),
                    0x0c => out.extend_from_slice(b"\\f"),
                    _ => {
                        out.extend_from_slice(b"\\u00");
                        out.push(HEX[usize::from(byte >> 4)]);
                        out.push(HEX[usize::from(byte & 15)]);
                    }
                }
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// A float as `encoding/json` writes it.
fn float(value: f64) -> Result<String, Unsupported> {
    if !value.is_finite() {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        return Err(Unsupported(format!("json: unsupported value: {name}")));
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return Ok(match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        });
    }
    Ok(format!("{value}"))
}

impl Json<'_> {
    fn display(&mut self, value: impl std::fmt::Display) -> Result<Written, Unsupported> {
        use std::io::Write as _;
        write!(self.out, "{value}").map_err(ser::Error::custom)?;
        Ok(true)
    }
}

impl<'a, 'b> Serializer for &'b mut Json<'a> {
    type Ok = Written;
    type Error = Unsupported;
    type SerializeSeq = Array<'a, 'b>;
    type SerializeTuple = Array<'a, 'b>;
    type SerializeTupleStruct = Array<'a, 'b>;
    type SerializeTupleVariant = ser::Impossible<Written, Unsupported>;
    type SerializeMap = Map<'a, 'b>;
    type SerializeStruct = Object<'a, 'b>;
    type SerializeStructVariant = ser::Impossible<Written, Unsupported>;

    fn serialize_bool(self, v: bool) -> Result<Written, Unsupported> {
        self.out.extend_from_slice(if v { b"true" } else { b"false" });
        Ok(true)
    }

    fn serialize_i8(self, v: i8) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_i16(self, v: i16) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_i32(self, v: i32) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_i64(self, v: i64) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_u8(self, v: u8) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_u16(self, v: u16) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_u32(self, v: u32) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_u64(self, v: u64) -> Result<Written, Unsupported> {
        self.display(v)
    }

    fn serialize_f32(self, v: f32) -> Result<Written, Unsupported> {
        self.serialize_f64(f64::from(v))
    }

    fn serialize_f64(self, v: f64) -> Result<Written, Unsupported> {
        let text = float(v)?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(true)
    }

    fn serialize_char(self, v: char) -> Result<Written, Unsupported> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, v: &str) -> Result<Written, Unsupported> {
        escape(v, self.out);
        Ok(true)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Written, Unsupported> {
        self.out.push(b'"');
        self.out.extend_from_slice(STANDARD.encode(v).as_bytes());
        self.out.push(b'"');
        Ok(true)
    }

    fn serialize_none(self) -> Result<Written, Unsupported> {
        self.out.extend_from_slice(b"null");
        Ok(true)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Written, Unsupported> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Written, Unsupported> {
        self.out.extend_from_slice(b"{}");
        Ok(true)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Written, Unsupported> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Written, Unsupported> {
        if name == OMIT {
            return Ok(false);
        }
        if name == LINK {
            let start = self.out.len();
            self.out.extend_from_slice(b"{\"/\":");
            value.serialize(&mut *self)?;
            if self.out.ends_with(b":\"\"") {
                self.out.truncate(start);
                return self.serialize_none();
            }
            self.out.push(b'}');
            return Ok(true);
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Written, Unsupported> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Array<'a, 'b>, Unsupported> {
        self.out.push(b'[');
        Ok(Array { json: self, count: 0, forms: false })
    }

    fn serialize_tuple(self, len: usize) -> Result<Array<'a, 'b>, Unsupported> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Array<'a, 'b>, Unsupported> {
        if name == FORMS {
            return Ok(Array { json: self, count: 0, forms: true });
        }
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(ser::Error::custom("json: unsupported type: tuple variant"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a, 'b>, Unsupported> {
        self.out.push(b'{');
        Ok(Map { json: self, entries: Vec::new(), sorted: true })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Object<'a, 'b>, Unsupported> {
        match self.inline.take() {
            Some(empty) => Ok(Object { json: self, empty, close: false }),
            None => {
                self.out.push(b'{');
                Ok(Object { json: self, empty: true, close: true })
            }
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(ser::Error::custom("json: unsupported type: struct variant"))
    }
}

struct Array<'a, 'b> {
    json: &'b mut Json<'a>,
    count: usize,
    /// A tuple of forms, of which JSON is the first.
    forms: bool,
}

impl Array<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.count += 1;
        if self.forms && self.count > 1 {
            return Ok(());
        }
        if self.count > 1 {
            self.json.out.push(b',');
        }
        value.serialize(&mut *self.json)?;
        Ok(())
    }

    fn close(self) -> Result<Written, Unsupported> {
        if !self.forms {
            self.json.out.push(b']');
        }
        Ok(true)
    }
}

impl ser::SerializeSeq for Array<'_, '_> {
    type Ok = Written;
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Unsupported> {
        self.close()
    }
}

impl ser::SerializeTuple for Array<'_, '_> {
    type Ok = Written;
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Unsupported> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Array<'_, '_> {
    type Ok = Written;
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Unsupported> {
        self.close()
    }
}

struct Object<'a, 'b> {
    json: &'b mut Json<'a>,
    empty: bool,
    close: bool,
}

impl ser::SerializeStruct for Object<'_, '_> {
    type Ok = Written;
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        if key.is_empty() {
            self.json.inline = Some(self.empty);
            self.empty = !value.serialize(&mut *self.json)? && self.empty;
            self.json.inline = None;
            return Ok(());
        }
        let name = key.split_once('>').map_or(key, |(json, _)| json);
        if name.is_empty() {
            return Ok(());
        }
        let start = self.json.out.len();
        if !self.empty {
            self.json.out.push(b',');
        }
        escape(name, self.json.out);
        self.json.out.push(b':');
        if value.serialize(&mut *self.json)? {
            self.empty = false;
        } else {
            self.json.out.truncate(start);
        }
        Ok(())
    }

    fn end(self) -> Result<Written, Unsupported> {
        if self.close {
            self.json.out.push(b'}');
            return Ok(true);
        }
        Ok(!self.empty)
    }
}

struct Map<'a, 'b> {
    json: &'b mut Json<'a>,
    /// Where each entry starts, where its key ends, where it ends. Without the commas.
    entries: Vec<(usize, usize, usize)>,
    sorted: bool,
}

impl Map<'_, '_> {
    /// The key of an entry as it was before escaping: Go sorts by that.
    fn key(&self, entry: &(usize, usize, usize)) -> String {
        let encoded = self.json.out.get(entry.0..entry.1).unwrap_or_default();
        serde_json::from_slice(encoded).unwrap_or_default()
    }
}

impl ser::SerializeMap for Map<'_, '_> {
    type Ok = Written;
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        if !self.entries.is_empty() {
            self.json.out.push(b',');
        }
        let start = self.json.out.len();
        key.serialize(&mut *self.json)?;
        if self.json.out.get(start) != Some(&b'"') {
            self.json.out.insert(start, b'"');
            self.json.out.push(b'"');
        }
        let end = self.json.out.len();
        if let Some(last) = self.entries.last() {
            self.sorted = self.sorted && self.key(last) <= self.key(&(start, end, end));
        }
        self.entries.push((start, end, end));
        self.json.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        if !value.serialize(&mut *self.json)? {
            self.json.out.extend_from_slice(b"null");
        }
        let end = self.json.out.len();
        if let Some(last) = self.entries.last_mut() {
            last.2 = end;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Written, Unsupported> {
        if !self.sorted {
            let start = self.entries.first().map_or(self.json.out.len(), |entry| entry.0);
            let mut entries = std::mem::take(&mut self.entries);
            entries.sort_by_cached_key(|entry| self.key(entry));
            let mut ordered = Vec::with_capacity(self.json.out.len() - start);
            for (from, _, to) in entries {
                if !ordered.is_empty() {
                    ordered.push(b',');
                }
                ordered.extend_from_slice(self.json.out.get(from..to).unwrap_or_default());
            }
            self.json.out.truncate(start);
            self.json.out.extend_from_slice(&ordered);
        }
        self.json.out.push(b'}');
        Ok(true)
    }
}
