//! Values as Go's `fmt` prints them under `%s`.
//!
//! What `encoding=text` gives when a command has no text encoder: `&{name Qm… %!s(int64=0)}`.

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{FORMS, INT, LINK, OMIT, Unsupported};

/// Appends `value`; `pointer` when Go holds a pointer to it.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    pointer: bool,
    out: &mut Vec<u8>,
) -> Result<(), Unsupported> {
    value.serialize(&mut Go { out, depth: 0, pointer, verb: Verb::S, type_name: None })
}

/// The verb in force: under `%v` everything has a form, under `%s` only text has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    S,
    V,
}

struct Go<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    /// The next struct is behind a pointer.
    pointer: bool,
    verb: Verb,
    /// The Go type of the next value, where a newtype names it.
    type_name: Option<&'static str>,
}

impl Go<'_> {
    /// Something that is no text: bare under `%v`, `%!s(type=value)` under `%s`.
    fn scalar(&mut self, type_name: &'static str, text: &str) -> Result<(), Unsupported> {
        let type_name = self.type_name.take().unwrap_or(type_name);
        match self.verb {
            Verb::V => self.push(text),
            Verb::S => {
                self.push("%!s(");
                self.push(type_name);
                self.push("=");
                self.push(text);
                self.push(")");
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// A float under `%v`: the shortest form, an exponent from 21 digits on.
fn float(value: f64) -> String {
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "+Inf".to_owned()
        } else {
            "-Inf".to_owned()
        };
    };
    let power: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..21).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", power.unsigned_abs());
    }
    format!("{value}")
}

impl<'a, 'b> Serializer for &'b mut Go<'a> {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = List<'a, 'b>;
    type SerializeTuple = List<'a, 'b>;
    type SerializeTupleStruct = List<'a, 'b>;
    type SerializeTupleVariant = ser::Impossible<(), Unsupported>;
    type SerializeMap = Map<'a, 'b>;
    type SerializeStruct = Fields<'a, 'b>;
    type SerializeStructVariant = ser::Impossible<(), Unsupported>;

    fn serialize_bool(self, v: bool) -> Result<(), Unsupported> {
        self.scalar("bool", if v { "true" } else { "false" })
    }

    fn serialize_i8(self, v: i8) -> Result<(), Unsupported> {
        self.scalar("int8", &v.to_string())
    }

    fn serialize_i16(self, v: i16) -> Result<(), Unsupported> {
        self.scalar("int16", &v.to_string())
    }

    fn serialize_i32(self, v: i32) -> Result<(), Unsupported> {
        self.scalar("int", &v.to_string())
    }

    fn serialize_i64(self, v: i64) -> Result<(), Unsupported> {
        self.scalar("int64", &v.to_string())
    }

    fn serialize_u8(self, v: u8) -> Result<(), Unsupported> {
        self.scalar("uint8", &v.to_string())
    }

    fn serialize_u16(self, v: u16) -> Result<(), Unsupported> {
        self.scalar("uint16", &v.to_string())
    }

    fn serialize_u32(self, v: u32) -> Result<(), Unsupported> {
        self.scalar("uint32", &v.to_string())
    }

    fn serialize_u64(self, v: u64) -> Result<(), Unsupported> {
        self.scalar("uint64", &v.to_string())
    }

    fn serialize_f32(self, v: f32) -> Result<(), Unsupported> {
        self.scalar("float32", &float(f64::from(v)))
    }

    fn serialize_f64(self, v: f64) -> Result<(), Unsupported> {
        self.scalar("float64", &float(v))
    }

    fn serialize_char(self, v: char) -> Result<(), Unsupported> {
        self.scalar("int32", &u32::from(v).to_string())
    }

    fn serialize_str(self, v: &str) -> Result<(), Unsupported> {
        self.type_name = None;
        self.push(v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Unsupported> {
        self.type_name = None;
        match self.verb {
            Verb::S => self.out.extend_from_slice(v),
            Verb::V => {
                let numbers: Vec<String> = v.iter().map(u8::to_string).collect();
                let text = format!("[{}]", numbers.join(" "));
                self.push(&text);
            }
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.push(if self.verb == Verb::S { "%!s(<nil>)" } else { "<nil>" });
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        self.pointer = true;
        let done = value.serialize(&mut *self);
        self.pointer = false;
        done
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsupported> {
        self.push("{}");
        Ok(())
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
        match name {
            OMIT => {}
            // An undefined CID prints as its multibase prefix alone.
            LINK => {
                let start = self.out.len();
                value.serialize(&mut *self)?;
                if self.out.len() == start {
                    self.push("b");
                }
                return Ok(());
            }
            INT => self.type_name = Some("int"),
            name => self.type_name = Some(name),
        }
        let done = value.serialize(&mut *self);
        self.type_name = None;
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

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a, 'b>, Unsupported> {
        let ampersand = std::mem::take(&mut self.pointer) && self.depth == 0;
        self.push(if ampersand { "&[" } else { "[" });
        self.depth += 1;
        Ok(List { go: self, first: true, forms: None })
    }

    fn serialize_tuple(self, len: usize) -> Result<List<'a, 'b>, Unsupported> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<List<'a, 'b>, Unsupported> {
        if name == FORMS {
            return Ok(List { go: self, first: true, forms: Some(0) });
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
        Err(ser::Error::custom("unsupported type: tuple variant"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a, 'b>, Unsupported> {
        self.type_name = None;
        let ampersand = std::mem::take(&mut self.pointer) && self.depth == 0;
        self.push(if ampersand { "&map[" } else { "map[" });
        self.depth += 1;
        Ok(Map { go: self, entries: Vec::new() })
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a, 'b>, Unsupported> {
        self.type_name = None;
        let pointer = std::mem::take(&mut self.pointer);
        // `%s` has no form for a pointer inside of something: it names the type and prints the
        // rest under `%v`.
        let bad_verb = pointer && self.depth > 0 && self.verb == Verb::S;
        if bad_verb {
            self.push("%!s(*");
            self.push(name);
            self.push("=");
            self.verb = Verb::V;
        }
        self.push(if pointer { "&{" } else { "{" });
        self.depth += 1;
        Ok(Fields { go: self, first: true, bad_verb })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(ser::Error::custom("unsupported type: struct variant"))
    }
}

struct List<'a, 'b> {
    go: &'b mut Go<'a>,
    first: bool,
    /// For a tuple of forms, how many have passed; the third is Go's.
    forms: Option<usize>,
}

impl List<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        if let Some(passed) = &mut self.forms {
            *passed += 1;
            if *passed != 3 {
                return Ok(());
            }
        } else if !std::mem::take(&mut self.first) {
            self.go.push(" ");
        }
        value.serialize(&mut *self.go)
    }

    fn close(self) -> Result<(), Unsupported> {
        if self.forms.is_none() {
            self.go.depth -= 1;
            self.go.push("]");
        }
        Ok(())
    }
}

impl ser::SerializeSeq for List<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl ser::SerializeTuple for List<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for List<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.element(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

struct Fields<'a, 'b> {
    go: &'b mut Go<'a>,
    first: bool,
    /// The struct stands inside `%!s(…)`.
    bad_verb: bool,
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        if key.ends_with('>') {
            return Ok(());
        }
        if !std::mem::take(&mut self.first) {
            self.go.push(" ");
        }
        value.serialize(&mut *self.go)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.go.depth -= 1;
        self.go.push("}");
        if self.bad_verb {
            self.go.push(")");
            self.go.verb = Verb::S;
        }
        Ok(())
    }
}

/// A map; Go prints it in the order of the keys.
struct Map<'a, 'b> {
    go: &'b mut Go<'a>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Map<'_, '_> {
    fn part<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, Unsupported> {
        let mut out = Vec::new();
        value.serialize(&mut Go {
            out: &mut out,
            depth: self.go.depth,
            pointer: false,
            verb: self.go.verb,
            type_name: None,
        })?;
        Ok(out)
    }
}

impl ser::SerializeMap for Map<'_, '_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        let key = self.part(key)?;
        self.entries.push((key, Vec::new()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        let value = self.part(value)?;
        if let Some(entry) = self.entries.last_mut() {
            entry.1 = value;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), Unsupported> {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (i, (key, value)) in self.entries.iter().enumerate() {
            if i > 0 {
                self.go.out.push(b' ');
            }
            self.go.out.extend_from_slice(key);
            self.go.out.push(b':');
            self.go.out.extend_from_slice(value);
        }
        self.go.depth -= 1;
        self.go.push("]");
        Ok(())
    }
}
