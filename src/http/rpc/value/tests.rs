//! Values in every encoding, compared with what Go prints for the same struct.

use std::collections::BTreeMap;

use super::*;

#[derive(Serialize)]
#[serde(rename = "commands.AddEvent", rename_all = "PascalCase")]
struct AddEvent {
    name: String,
    hash: Omit<String>,
    bytes: Omit<i64>,
    size: Omit<String>,
    mode: Omit<String>,
    mtime: Omit<i64>,
    mtime_nsecs: Omit<Int>,
}

impl Value for AddEvent {}

#[derive(Serialize)]
#[serde(rename = "pin.PinLsType", rename_all = "PascalCase")]
struct PinType {
    #[serde(rename = "Type")]
    kind: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename = "map[string]pin.PinLsType")]
struct Keys(BTreeMap<String, PinType>);

#[derive(Serialize)]
#[serde(rename = "pin.PinLsOutputWrapper", rename_all = "PascalCase")]
struct PinLs {
    #[serde(rename = "")]
    list: PinList,
    #[serde(rename = "")]
    object: PinObject,
}

#[derive(Serialize)]
#[serde(rename = "pin.PinLsList", rename_all = "PascalCase")]
struct PinList {
    keys: Keys,
}

#[derive(Serialize)]
#[serde(rename = "pin.PinLsObject", rename_all = "PascalCase")]
struct PinObject {
    cid: Omit<String>,
    name: Omit<String>,
    #[serde(rename = "Type")]
    kind: Omit<String>,
}

impl Value for PinLs {
    const BY_VALUE: bool = true;
}

#[derive(Serialize)]
#[serde(rename = "x.Mixed")]
struct Mixed {
    #[serde(rename = "cid>Cid")]
    cid: Link,
    #[serde(rename = ">hidden")]
    hidden: bool,
    #[serde(rename = "Data")]
    data: Base64,
    #[serde(rename = "List")]
    list: Option<Vec<String>>,
    #[serde(rename = "Next")]
    next: Option<Box<AddEvent>>,
}

impl Value for Mixed {}

fn show(value: &impl Emit, encoding: Encoding) -> String {
    let mut out = Vec::new();
    match value.encode(encoding, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(error) => {
            assert!(out.is_empty());
            format!("error: {error}")
        }
    }
}

fn event() -> AddEvent {
    AddEvent {
        name: "t".to_owned(),
        hash: Omit("Qm".to_owned()),
        bytes: Omit(0),
        size: Omit("13".to_owned()),
        mode: Omit(String::new()),
        mtime: Omit(0),
        mtime_nsecs: Omit(Int(0)),
    }
}

#[test]
fn a_struct_looks_like_go_prints_it_in_every_encoding() {
    let cases = [
        (Encoding::Json, "{\"Name\":\"t\",\"Hash\":\"Qm\",\"Size\":\"13\"}\n"),
        (
            Encoding::Xml,
            "<AddEvent><Name>t</Name><Hash>Qm</Hash><Bytes>0</Bytes><Size>13</Size><Mode></Mode>\
             <Mtime>0</Mtime><MtimeNsecs>0</MtimeNsecs></AddEvent>",
        ),
        (Encoding::Text, "&{t Qm %!s(int64=0) 13  %!s(int64=0) %!s(int=0)}"),
        (Encoding::TextNl, "&{t Qm %!s(int64=0) 13  %!s(int64=0) %!s(int=0)}\n"),
    ];
    for (encoding, want) in cases {
        assert_eq!(show(&event(), encoding), want);
    }
}

#[test]
fn embedded_structs_and_maps_follow_go() {
    let pin = |name: &str| PinType { kind: "recursive".to_owned(), name: name.to_owned() };
    let keys = BTreeMap::from([("b".to_owned(), pin("")), ("a".to_owned(), pin("n"))]);
    let none = || Omit(String::new());
    let value = PinLs {
        list: PinList { keys: Keys(keys) },
        object: PinObject { cid: none(), name: none(), kind: Omit("x".to_owned()) },
    };
    let cases = [
        (
            Encoding::Json,
            "{\"Keys\":{\"a\":{\"Type\":\"recursive\",\"Name\":\"n\"},\
             \"b\":{\"Type\":\"recursive\",\"Name\":\"\"}},\"Type\":\"x\"}\n",
        ),
        (Encoding::Xml, "error: xml: unsupported type: map[string]pin.PinLsType"),
        (Encoding::OctetStream, "{{map[a:{recursive n} b:{recursive }]} {  x}}"),
    ];
    for (encoding, want) in cases {
        assert_eq!(show(&value, encoding), want);
    }
}

#[test]
fn wrappers_show_what_the_go_type_shows() {
    let mut value = Mixed {
        cid: Link(None),
        hidden: true,
        data: Base64(bytes::Bytes::from_static(b"hi")),
        list: None,
        next: None,
    };
    let json = "{\"cid\":null,\"Data\":\"aGk=\",\"List\":null,\"Next\":null}\n";
    assert_eq!(show(&value, Encoding::Json), json);
    let xml = "<Mixed><Cid></Cid><Data>hi</Data></Mixed>";
    assert_eq!(show(&value, Encoding::Xml), xml);
    value.next = Some(Box::new(event()));
    value.list = Some(vec!["a".to_owned(), "b".to_owned()]);
    let text = "&{b %!s(bool=true) hi [a b] %!s(*commands.AddEvent=&{t Qm 0 13  0 0})}";
    assert_eq!(show(&value, Encoding::Text), text);
}

#[test]
fn json_escapes_and_numbers_are_those_of_go() {
    let texts = [
        ("<a>&\"\\", r#""\u003ca\u003e\u0026\"\\""#),
        ("\n\r\t\u{8}\u{c}\u{1}\u{7f}", "\"\\n\\r\\t\\b\\f\\u0001\u{7f}\""),
        ("\u{2028}\u{2029}\u{2027}é\u{ffff}", "\"\\u2028\\u2029\u{2027}é\u{ffff}\""),
        ("\u{fffd}", "\"\\ufffd\""),
    ];
    for (text, want) in texts {
        assert_eq!(show(&text.to_owned(), Encoding::Json), format!("{want}\n"));
    }
    let floats = [
        (0.0, "0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-2.5e-9, "-2.5e-9"),
        (0.07, "0.07"),
    ];
    for (float, want) in floats {
        let mut out = Vec::new();
        write_json(&float, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }
    assert!(write_json(&f64::NAN, &mut Vec::new()).is_err());
}

#[test]
fn map_keys_are_sorted_by_their_bytes_before_escaping() {
    let map = serde_json::json!({"b": 1, "a": {"z": [], "<": 2, "=": 3}, "": null});
    let mut out = Vec::new();
    write_json(&map, &mut out).unwrap();
    let want = r#"{"":null,"a":{"\u003c":2,"=":3,"z":[]},"b":1}"#;
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

#[test]
fn xml_escapes_what_go_escapes() {
    let text = "<&>\"'\t\n\r\u{1}é".to_owned();
    let want = "<string>&lt;&amp;&gt;&#34;&#39;&#x9;&#xA;&#xD;\u{fffd}é</string>";
    assert_eq!(show(&text, Encoding::Xml), want);
}
