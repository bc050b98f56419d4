//! XML as Go's `encoding/xml` writes it.
//!
//! Elements are named after Go's fields and types, slices repeat their element, `nil` leaves
//! nothing, and a map is an error.

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{FORMS, INT, LINK, OMIT, Unsupported, bare_type, go_name};

/// Appends `value`.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    value.serialize(&mut Xml { out, element: None, embedded: false, named: None })
}

/// Appends text as Go's `xml.EscapeText` does.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    for c in text.chars() {
        let escaped: &[u8] = match c {
            '"' => b"&#34;",
            '\'' => b"&#39;",
            '&' => b"&amp;",
            '<' => b"&lt;",
            '>' => b"&gt;",
            '\t' => b"&#x9;",
            '\n' => b"&#xA;",
            '\r' => b"&#xD;",
            '\u{fffe}' | '\u{ffff}' => "\u{fffd}".as_bytes(),
            c if c < ' ' => "\u{fffd}".as_bytes(),
            c => c.encode_utf8(&mut buffer).as_bytes(),
        };
        out.extend_from_slice(escaped);
    }
}

struct Xml<'a> {
    out: &'a mut Vec<u8>,
    /// The name of the element to write; without one, the type's.
    element: Option<&'static str>,
    /// The next struct is embedded: its fields stand where it would.
    embedded: bool,
    /// The Go type of the map that comes next.
    named: Option<&'static str>,
}

impl Xml<'_> {
    fn open(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    fn close(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// An element with text; `type_name` names it when no field does.
    fn leaf(&mut self, type_name: &'static str, text: &str) -> Result<(), Unsupported> {
        let name = self.element.unwrap_or(type_name);
        self.open(name);
        escape(text, self.out);
        self.close(name);
        Ok(())
    }
}

/// A float as Go's `strconv.FormatFloat(v, 'g', -1, 64)`.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let power: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..21).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", power.unsigned_abs());
    }
    format!("{value}")
}

impl<'a, 'b> Serializer for &'b mut Xml<'a> {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Elements<'a, 'b>;
    type SerializeTuple = Elements<'a, 'b>;
    type SerializeTupleStruct = Elements<'a, 'b>;
    type SerializeTupleVariant = ser::Impossible<(), Unsupported>;
    type SerializeMap = ser::Impossible<(), Unsupported>;
    type SerializeStruct = Fields<'a, 'b>;
    type SerializeStructVariant = ser::Impossible<(), Unsupported>;

    fn serialize_bool(self, v: bool) -> Result<(), Unsupported> {
        self.leaf("bool", if v { "true" } else { "false" })
    }

    fn serialize_i8(self, v: i8) -> Result<(), Unsupported> {
        self.leaf("int8", &v.to_string())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Unsupported> {
        self.leaf("int16", &v.to_string())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Unsupported> {
        self.leaf("int", &v.to_string())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Unsupported> {
        self.leaf("int64", &v.to_string())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Unsupported> {
        self.leaf("uint8", &v.to_string())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Unsupported> {
        self.leaf("uint16", &v.to_string())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Unsupported> {
        self.leaf("uint32", &v.to_string())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Unsupported> {
        self.leaf("uint64", &v.to_string())
    }

    fn serialize_f32(self, v: f32) -> Result<(), Unsupported> {
        self.leaf("float32", &float(f64::from(v)))
    }

    fn serialize_f64(self, v: f64) -> Result<(), Unsupported> {
        self.leaf("float64", &float(v))
    }

    fn serialize_char(self, v: char) -> Result<(), Unsupported> {
        self.leaf("int32", &u32::from(v).to_string())
    }

    fn serialize_str(self, v: &str) -> Result<(), Unsupported> {
        self.leaf("string", v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Unsupported> {
        self.leaf("", &String::from_utf8_lossy(v))
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Unsupported> {
        self.leaf(bare_type(name), "")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unsupported> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        if !matches!(name, OMIT | LINK | INT) {
            self.named = Some(name);
        }
        let done = value.serialize(&mut *self);
        self.named = None;
        done
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a, 'b>, Unsupported> {
        Ok(Elements { xml: self, forms: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements<'a, 'b>, Unsupported> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Elements<'a, 'b>, Unsupported> {
        Ok(Elements { xml: self, forms: (name == FORMS).then_some(0) })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(ser::Error::custom("xml: unsupported type: tuple variant"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unsupported> {
        let name = self.named.unwrap_or("map[string]interface {}");
        Err(Unsupported(format!("xml: unsupported type: {name}")))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a, 'b>, Unsupported> {
        let outer = self.element;
        let close = if std::mem::take(&mut self.embedded) {
            None
        } else {
            let element = outer.unwrap_or_else(|| bare_type(name));
            self.open(element);
            Some(element)
        };
        Ok(Fields { xml: self, outer, close })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(ser::Error::custom("xml: unsupported type: struct variant"))
    }
}

/// The elements of a slice: each under the same name.
struct Elements<'a, 'b> {
    xml: &'b mut Xml<'a>,
    /// For a tuple of forms, how many have passed; the second is XML's.
    forms: Option<usize>,
}

impl Elements<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        if let Some(passed) = &mut self.forms {
            *passed += 1;
            if *passed != 2 {
                return Ok(());
            }
        }
        value.serialize(&mut *self.xml)
    }
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        Ok(())
    }
}

impl ser::SerializeTuple for Elements<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Elements<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        Ok(())
    }
}

/// The fields of a struct.
struct Fields<'a, 'b> {
    xml: &'b mut Xml<'a>,
    outer: Option<&'static str>,
    /// The element to close; none for an embedded struct.
    close: Option<&'static str>,
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        let name = go_name(key);
        if name.is_empty() && !key.is_empty() {
            return Ok(());
        }
        if name.is_empty() {
            self.xml.embedded = true;
        } else if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            // Go does not export it.
            return Ok(());
        }
        self.xml.element = Some(name);
        let done = value.serialize(&mut *self.xml);
        self.xml.embedded = false;
        done
    }

    fn end(self) -> Result<(), Unsupported> {
        self.xml.element = self.outer;
        if let Some(name) = self.close {
            self.xml.close(name);
        }
        Ok(())
    }
}
