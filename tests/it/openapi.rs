//! `api-spec/openapi.yaml` says the same as the command table: commands, arguments, options with
//! aliases, types and defaults, emission and standing; and the compatibility page is the table's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pinmesh::http::rpc::table::{self, Arg, Class, Command, Default, Kind, OptionDef, Run, Status};
use serde::Deserialize;

const PAGE: &str = "docs/compatibility.md";

#[derive(Deserialize)]
struct Description {
    #[serde(rename = "x-global-options")]
    global_options: Vec<Parameter>,
    paths: BTreeMap<String, Path>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Path {
    post: Operation,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "operationId")]
    id: String,
    summary: String,
    #[serde(default)]
    deprecated: bool,
    #[serde(rename = "x-kubo")]
    kubo: Option<String>,
    #[serde(rename = "x-status")]
    status: String,
    #[serde(rename = "x-experimental", default)]
    experimental: bool,
    #[serde(rename = "x-emission")]
    emission: String,
    #[serde(rename = "x-arguments", default)]
    arguments: Vec<Argument>,
    #[serde(default)]
    parameters: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    name: String,
    #[serde(default)]
    file: bool,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    variadic: bool,
    #[serde(default)]
    body: bool,
    #[serde(default)]
    recursive: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Reference {
        #[serde(rename = "$ref")]
        to: String,
    },
    Parameter(Parameter),
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "x-aliases", default)]
    aliases: Vec<String>,
    schema: Schema,
}

#[derive(Deserialize)]
struct Schema {
    r#type: String,
    format: Option<String>,
    default: Option<serde_json::Value>,
}

fn description() -> Description {
    let text = std::fs::read_to_string("api-spec/openapi.yaml").unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The commands that a request can run.
fn commands() -> impl Iterator<Item = &'static Command> {
    table::table().filter(|command| command.is_runnable() && !is_cli_only(command))
}

fn is_cli_only(command: &'static Command) -> bool {
    table::chain(command).iter().any(|command| command.cli_only)
}

#[test]
fn every_command_is_described_and_every_description_is_a_command() {
    let described: Vec<String> = description().paths.into_keys().collect();
    let mut served: Vec<String> = commands().map(|c| format!("/api/v0/{}", c.path)).collect();
    served.sort();
    assert_eq!(described, served);
}

#[test]
fn each_description_says_what_the_table_says() {
    let description = description();
    for command in commands() {
        let operation = &description.paths[&format!("/api/v0/{}", command.path)].post;
        let path = command.path;
        assert_eq!(operation.id, path);
        assert!(!operation.summary.is_empty(), "{path}");
        assert!(operation.kubo.is_some() != (operation.status == "extension"), "{path}: x-kubo");
        assert_eq!(operation.emission, emission(command.class), "{path}: x-emission");
        assert_eq!(operation.status, standing(command), "{path}: x-status");
        assert_eq!(operation.experimental, command.status == Status::Experimental, "{path}");
        let going = matches!(command.status, Status::Deprecated | Status::Removed);
        assert_eq!(operation.deprecated, going, "{path}: deprecated");
        if command.status == Status::Removed {
            continue;
        }
        let described: Vec<_> = operation.arguments.iter().map(described_argument).collect();
        let served: Vec<_> = command.args.iter().map(served_argument).collect();
        assert_eq!(described, served, "{path}: x-arguments");
        let chain = table::chain(command);
        let mut served: Vec<_> = chain.iter().flat_map(|c| c.options).map(served_option).collect();
        let mut described: Vec<_> = options(operation).map(described_option).collect();
        served.sort();
        described.sort();
        assert_eq!(described, served, "{path}: parameters");
        assert_arguments_have_a_parameter(operation);
    }
}

#[test]
fn the_global_options_are_those_of_the_table() {
    let names = |option: &Parameter| {
        let mut names = vec![option.name.clone()];
        names.extend(option.aliases.clone());
        (names, option.schema.r#type.clone())
    };
    let described: Vec<_> = description().global_options.iter().map(names).collect();
    let served: Vec<_> = table::GLOBAL_OPTIONS
        .iter()
        .map(|option| {
            let names: Vec<_> = option.names.iter().map(|name| (*name).to_owned()).collect();
            (names, schema_type(option.kind).0.to_owned())
        })
        .collect();
    assert_eq!(described, served);
}

/// Run with `UPDATE_PAGES=1` to write the page.
#[test]
fn the_compatibility_page_is_the_tables() {
    let page = page(&description());
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(committed == page, "{PAGE} is not what the table says: UPDATE_PAGES=1 cargo test");
}

fn options(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    operation.parameters.iter().filter_map(|entry| match entry {
        Entry::Parameter(parameter) => Some(parameter),
        Entry::Reference { .. } => None,
    })
}

fn assert_arguments_have_a_parameter(operation: &Operation) {
    let texts: Vec<_> = operation.arguments.iter().filter(|arg| !arg.file).collect();
    let named = operation.parameters.iter().find_map(|entry| match entry {
        Entry::Reference { to } => to.strip_prefix("#/components/parameters/"),
        Entry::Parameter(_) => None,
    });
    let needed = texts.iter().any(|arg| arg.required && !arg.body);
    let want =
        if texts.is_empty() { None } else { Some(if needed { "arg" } else { "optionalArg" }) };
    assert_eq!(named, want, "{}: the parameter `arg`", operation.id);
}

fn described_argument(arg: &Argument) -> String {
    argument(&arg.name, [arg.file, arg.required, arg.variadic, arg.body, arg.recursive])
}

fn served_argument(arg: &Arg) -> String {
    argument(arg.name, [arg.file, arg.required, arg.variadic, arg.stdin, arg.recursive])
}

fn argument(name: &str, [file, required, variadic, body, recursive]: [bool; 5]) -> String {
    format!(
        "{name} file={file} required={required} variadic={variadic} body={body} recursive={recursive}"
    )
}

fn described_option(option: &Parameter) -> String {
    let mut names = vec![option.name.as_str()];
    names.extend(option.aliases.iter().map(String::as_str));
    let format = option.schema.format.as_deref();
    let default = option.schema.default.as_ref().map(ToString::to_string);
    one_option(&names, &option.schema.r#type, format, default)
}

fn served_option(option: &OptionDef) -> String {
    let default = match option.default {
        Default::None => None,
        Default::Bool(value) => Some(value.to_string()),
        Default::Int(value) => Some(value.to_string()),
        Default::Uint(value) => Some(value.to_string()),
        Default::Str(value) => Some(serde_json::json!(value).to_string()),
        Default::Strs(value) => Some(serde_json::json!(value).to_string()),
    };
    let (name, format) = schema_type(option.kind);
    one_option(option.names, name, format, default)
}

fn one_option(names: &[&str], kind: &str, format: Option<&str>, default: Option<String>) -> String {
    format!("{names:?} {kind} {format:?} {default:?}")
}

fn schema_type(kind: Kind) -> (&'static str, Option<&'static str>) {
    match kind {
        Kind::Bool => ("boolean", None),
        Kind::Int => ("integer", Some("int32")),
        Kind::Uint => ("integer", Some("uint32")),
        Kind::Int64 => ("integer", Some("int64")),
        Kind::Uint64 => ("integer", Some("uint64")),
        Kind::Float => ("number", None),
        Kind::String => ("string", None),
        Kind::Strings => ("array", None),
    }
}

fn emission(class: Class) -> &'static str {
    match class {
        Class::One => "one",
        Class::Many => "many",
        Class::Raw => "raw",
        Class::Nothing => "none",
    }
}

fn standing(command: &Command) -> &'static str {
    match command.run {
        Run::Handler(_) if command.is_own => "extension",
        Run::Handler(_) => "full",
        Run::Later => "later",
        Run::Removed(_) => "removed",
        Run::Group => "group",
    }
}

/// `docs/compatibility.md`, from the table and the one-line summaries of the description.
fn page(description: &Description) -> String {
    let (mut full, mut own) = (String::new(), String::new());
    let (mut later, mut gone) = (Vec::new(), Vec::new());
    let mut count = 0;
    for command in commands() {
        match command.run {
            Run::Handler(_) if command.is_own => own += &row(command, description),
            Run::Handler(_) => {
                count += 1;
                full += &row(command, description);
            }
            Run::Later => later.push(format!("`{}`", command.path)),
            Run::Removed(_) => gone.push(format!("`{}`", command.path)),
            Run::Group => {}
        }
    }
    let cli: Vec<_> = table::table()
        .filter(|command| command.is_runnable() && is_cli_only(command))
        .map(|command| format!("`{}`", command.path))
        .collect();
    let notes = include_str!("compatibility-notes.md");
    let later = match later.as_slice() {
        [] => String::new(),
        later => format!(
            "## {} commands that are not there yet\n\n\
             They answer 501 with a JSON error that names the command.\n\n{}.\n\n",
            later.len(),
            later.join(", "),
        ),
    };
    format!(
        "{notes}\n## {count} commands that answer as Kubo does\n\n\
         | command | arguments | options | answer | |\n|---|---|---|---|---|\n{full}\n\
         ## Commands that Kubo does not have\n\n\
         They are about the pins of the group. `commands`, which answers as Kubo's does, leaves them \
         out.\n\n\
         | command | arguments | options | answer | |\n|---|---|---|---|---|\n{own}\n\
         {later}## {} commands that Kubo has removed\n\nThey answer Kubo's error.\n\n{}.\n\n\
         ## {} commands of the command line alone\n\n\
         404 over HTTP, as in Kubo.\n\n{}.\n",
        gone.len(),
        gone.join(", "),
        cli.len(),
        cli.join(", "),
    )
}

fn row(command: &'static Command, description: &Description) -> String {
    let summary = &description.paths[&format!("/api/v0/{}", command.path)].post.summary;
    let args: Vec<_> = command.args.iter().map(shown_argument).collect();
    let options: Vec<_> =
        table::chain(command).iter().flat_map(|c| c.options).map(shown_option).collect();
    let mut row = String::new();
    let _ = writeln!(
        row,
        "| `{}` | {} | {} | {} | {summary} |",
        command.path,
        args.join(" "),
        options.join(", "),
        emission(command.class),
    );
    row
}

fn shown_argument(arg: &Arg) -> String {
    let name = if arg.file { format!("file:{}", arg.name) } else { arg.name.to_owned() };
    let many = if arg.variadic { "…" } else { "" };
    if arg.required { format!("{name}{many}") } else { format!("[{name}{many}]") }
}

fn shown_option(option: &OptionDef) -> String {
    let default = match option.default {
        Default::None => String::new(),
        Default::Bool(value) => format!("={value}"),
        Default::Int(value) => format!("={value}"),
        Default::Uint(value) => format!("={value}"),
        Default::Str(value) => format!("={}", value.replace('|', "\\|").replace('\n', " ")),
        Default::Strs(value) => format!("={}", value.join(",")),
    };
    format!("`{}{default}`", option.name())
}
