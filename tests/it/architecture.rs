//! The layers: every `crate::…` path under `src/<module>`, compared with a literal table.
//!
//! The table is the documentation. A new edge is a decision: it points down, or it does not land.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may name whom, top layer first.
const ALLOWED: &[(&str, &[&str])] = &[
    // L5; of `net` only the parser of the addresses that it listens on
    ("cli", &["config", "http", "ipld", "net", "node", "repo"]),
    // L4
    ("http", &["car", "config", "ipld", "ipns", "node", "psa", "tar", "unixfs"]),
    // L3
    (
        "node",
        &[
            "car",
            "config",
            "db",
            "exchange",
            "gc",
            "http_client",
            "ipld",
            "ipns",
            "mfs",
            "net",
            "pins",
            "psa",
            "replicate",
            "repo",
            "store",
            "sync",
            "tar",
            "tunnel",
            "unixfs",
        ],
    ),
    // L2
    ("gc", &["config", "db", "ipld", "pins", "store"]),
    ("mfs", &["db", "exchange", "ipld", "store", "unixfs"]),
    ("replicate", &["db", "ipld", "pins", "sync"]),
    ("sync", &["db", "ipld"]),
    // L1
    ("pins", &["db", "ipld", "store"]),
    ("exchange", &["ipld", "net", "store"]),
    ("tunnel", &["net"]),
    ("psa", &["config", "db", "http_client", "ipld"]),
    // L0
    ("repo", &["config", "ipld"]),
    ("net", &["config", "ipld", "ipns"]),
    ("http_client", &[]),
    ("store", &["db", "ipld"]),
    ("db", &["ipld"]),
    ("config", &["ipld"]),
    // pure
    ("car", &["ipld"]),
    ("ipns", &["ipld"]),
    ("unixfs", &["ipld"]),
    ("tar", &[]),
    ("ipld", &[]),
];

#[test]
fn imports_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    for (module, file, target) in edges() {
        match allowed.get(module.as_str()) {
            None => wrong.push(format!("{module} is in no layer ({})", file.display())),
            Some(targets) if module != target && !targets.contains(&target.as_str()) => {
                wrong.push(format!("{module} -> {target} ({})", file.display()));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "edges that are not in the table:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_has_no_cycle() {
    for (rank, (module, targets)) in ALLOWED.iter().enumerate() {
        for target in *targets {
            let below = ALLOWED.iter().position(|(name, _)| name == target);
            assert!(below.is_some_and(|below| below > rank), "{module} -> {target}");
        }
    }
}

#[test]
fn handlers_know_no_sql_and_no_store() {
    for (file, text) in sources(&Path::new("src").join("http")) {
        assert!(!text.contains("rusqlite"), "{}", file.display());
    }
}

/// Every `(module, file, module it names)` of the library.
fn edges() -> BTreeSet<(String, PathBuf, String)> {
    let modules: BTreeSet<String> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut edges = BTreeSet::new();
    for (file, text) in sources(Path::new("src")) {
        let Some(module) = module_of(&file) else { continue };
        for target in crate_paths(&without_tests_and_comments(&text)) {
            assert!(modules.contains(&target), "{}: crate::{target}?", file.display());
            edges.insert((module.clone(), file.clone(), target));
        }
    }
    assert!(!edges.is_empty());
    edges
}

/// The folder, or the single file, of `src` that a file belongs to; none for `lib.rs` and `main.rs`.
fn module_of(file: &Path) -> Option<String> {
    let first = file.strip_prefix("src").ok()?.iter().next()?.to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs")
                && path.file_stem().is_some_and(|stem| stem != "tests")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// The code up to the unit tests, which stand last and may know more.
fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The first segments of the paths `crate::a…` and `crate::{a…, b…}`.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(identifier(rest)),
            Some(group) => found.extend(names_at_the_top(group)),
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names in `a::{b, c}, d}`, not counting what stands in inner braces.
fn names_at_the_top(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(identifier(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}
