//! Paths in the tree. Pure; the rules are those of Go's `path` and of boxo's MFS.

/// Go's `path.Clean`, for a path that begins with a slash.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// Go's `path.Split`: all up to the last slash, and what follows it.
#[must_use]
pub fn split(path: &str) -> (&str, &str) {
    let at = path.rfind('/').map_or(0, |at| at + 1);
    path.split_at_checked(at).unwrap_or(("", path))
}

/// Go's `path.Dir`, of a path that begins with a slash.
#[must_use]
pub fn dir(path: &str) -> String {
    clean(split(path).0)
}

/// Go's `path.Base`.
#[must_use]
pub fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (trimmed, path) {
        ("", "") => ".",
        ("", _) => "/",
        (trimmed, _) => split(trimmed).1,
    }
}

/// The names that a lookup follows; none for the root.
pub(super) fn names(path: &str) -> Vec<&str> {
    match path.trim_matches('/') {
        "" => Vec::new(),
        path => path.split('/').collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_go_does() {
        let cleaned = [("/", "/"), ("//a//b/", "/a/b"), ("/a/../../b/.", "/b"), ("/..", "/")];
        for (path, expected) in cleaned {
            assert_eq!(clean(path), expected);
        }
        assert_eq!(split("/a/b"), ("/a/", "b"));
        assert_eq!(split("/a/"), ("/a/", ""));
        assert_eq!(split("a"), ("", "a"));
        assert_eq!([dir("/a/b"), dir("/a/b/"), dir("/a"), dir("/")], ["/a", "/a/b", "/", "/"]);
        assert_eq!([base(""), base("/"), base("/a/b/"), base("a")], [".", "/", "b", "a"]);
        assert_eq!(names("/a//b/"), ["a", "", "b"]);
        assert!(names("///").is_empty());
    }
}
