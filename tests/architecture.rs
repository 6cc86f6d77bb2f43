//! Guards the layers of ARCHITECTURE.md: no module uses one beside or above it, and nothing below the I/O line does I/O.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// The layers from the bottom up. Modules of one layer do not use each other.
const LAYERS: &[&[&str]] = &[
    &["types"],
    &["shardmap", "wire"],
    &["config"],
    &["auth", "merge"],
    &["sql"],
    &["route"],
    &["session"],
    // ---- the I/O line: see LAST_PURE
    &["telemetry"],
    &["net"],
    &["catalog", "pool"],
    &["proxy"],
    &["rebalance"],
    &["admin", "http"],
    &["cli"],
];

/// The last module below the I/O line.
const LAST_PURE: &str = "session";

/// What a pure module may not name: sockets, files, clocks, threads, runtimes, and globals that change.
const IMPURE: [&str; 22] = [
    "tokio",
    "tokio_postgres",
    "sqlx",
    "socket2",
    "axum",
    "libc",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "static mut",
    "thread_local!",
    "OnceLock",
    "LazyLock",
    "println!",
    "eprintln!",
];

/// Everything in one file of module `module` that breaks the rules, as `line: what`.
fn breaches(module: &str, source: &str) -> Vec<String> {
    let Some(layer) = layer_of(module) else {
        return vec![format!("1: module {module} is in no layer; give it one in tests/architecture.rs")];
    };
    let numbered = code_lines(source);
    let mut found = Vec::new();
    for (number, path) in crate_paths(&numbered) {
        let target = path.split("::").next().unwrap_or_default();
        match layer_of(target) {
            _ if target == module => {}
            Some(below) if below < layer => {}
            Some(_) => found.push(format!("{number}: {module} uses {path}, which is not below it")),
            None => found.push(format!("{number}: {module} uses {path}, which is in no layer")),
        }
    }
    if Some(layer) <= layer_of(LAST_PURE) {
        for (number, line) in &numbered {
            let named = IMPURE.iter().filter(|name| names(line, name));
            found.extend(named.map(|name| format!("{number}: {module} is below the I/O line and names {name}")));
        }
    }
    found
}

/// Paths that reach the crate's root by `super`, where the arrows above would not see them; `top` is the path from the
/// file to the root.
fn climbs(top: &str, source: &str) -> Vec<String> {
    let numbered = code_lines(source);
    let climbing = numbered.iter().filter(|(_, line)| names(line, top));
    climbing.map(|(number, _)| format!("{number}: write crate:: where {top}:: leaves the module")).collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The lines that are code, with their numbers: no comments, and nothing after `#[cfg(test)] mod tests {`.
fn code_lines(source: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    let code = &lines[..tests.unwrap_or(lines.len())];
    let uncommented = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    code.iter().enumerate().map(|(index, line)| (index + 1, uncommented(line))).collect()
}

/// Whether the line names this path or macro, and not a longer name that contains it.
fn names(line: &str, name: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// All paths that start at the crate's root, with `crate::{a::b, c}` and `use crate::{` over several lines taken apart
/// as far as the module needs: up to its second segment.
fn crate_paths(lines: &[(usize, String)]) -> Vec<(usize, String)> {
    let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let line_of = |at: usize| text[..at].matches('\n').count();
    let number_of = |at: usize| lines.get(line_of(at)).map_or(0, |(number, _)| *number);
    let roots = text.match_indices("crate::").map(|(at, root)| at + root.len());
    roots.flat_map(|at| heads(&text[at..]).into_iter().map(move |head| (number_of(at), head))).collect()
}

/// The first two segments of the path, or of each path of the group, at the start of `text`.
fn heads(text: &str) -> Vec<String> {
    match text.strip_prefix('{') {
        None => vec![head(text)],
        Some(group) => split_group(group).into_iter().map(head).filter(|path| !path.is_empty()).collect(),
    }
}

fn head(text: &str) -> String {
    let text = text.trim_start();
    let end = text.find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'));
    let path = &text[..end.unwrap_or(text.len())];
    path.split("::").filter(|segment| !segment.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

/// The members of a use group, given the text after its opening brace.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0_usize, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members
}

/// All source files with the name of their top-level module; lib.rs and main.rs only list modules.
fn source_files() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let module = |path: &Path| {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap().as_os_str();
        first.to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    let is_list = |path: &PathBuf| [root.join("lib.rs"), root.join("main.rs")].contains(path);
    files.into_iter().filter(|path| !is_list(path)).map(|path| (module(&path), path)).collect()
}

/// How a file would name the crate's root by `super`: `super` for `src/sql/mod.rs`, `super::super` for `src/sql/facts.rs`.
fn way_to_root(path: &Path) -> String {
    let source_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let depth = path.strip_prefix(source_root).unwrap().components().count();
    let depth = if path.ends_with("mod.rs") { depth - 1 } else { depth };
    vec!["super"; depth].join("::")
}

#[test]
fn modules_use_only_what_is_below_them() {
    let files = source_files();
    assert!(files.len() > 20, "the source files were not found");
    let mut found = Vec::new();
    for (module, path) in files {
        // A tests.rs beside the code is test code.
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let breaches = breaches(&module, &source).into_iter().chain(climbs(&way_to_root(&path), &source));
        found.extend(breaches.map(|breach| format!("{}:{breach}", path.display())));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn what_is_allowed_passes() {
    let cases = [
        ("sql", "use crate::types::{Error, Result};\nuse crate::wire::frontend;"),
        ("sql", "use crate::sql::facts::Facts;\nuse super::schema;"),
        ("sql", "// use crate::proxy::Client;\n/// See [`crate::proxy`].\nfn f() {}"),
        ("sql", "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::proxy;\n    use std::fs;\n}"),
        ("sql", "let tokio_like = my::tokio_ish();"),
        ("route", "use crate::merge::spec::MergeSpec;"),
        ("route", "use crate::{merge::spec, sql::facts::{self, Facts}, types};"),
        ("config", "use std::time::Duration;\nuse std::net::SocketAddr;\nuse crate::shardmap::ShardMap;"),
        ("proxy", "use std::time::Instant;\nuse crate::pool::Pool;"),
    ];
    for (module, source) in cases {
        assert_eq!(breaches(module, source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn climbing_out_of_a_module_is_found() {
    assert_eq!(climbs("super", "use crate::types;\nuse super::proxy;").len(), 1);
    assert_eq!(climbs("super::super", "use super::facts;\nuse super::super::proxy;").len(), 1);
    let source_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(way_to_root(&source_root.join("sql/mod.rs")), "super");
    assert_eq!(way_to_root(&source_root.join("sql/facts.rs")), "super::super");
    assert_eq!(way_to_root(&source_root.join("cli/cluster/mod.rs")), "super::super");
}

#[test]
fn what_is_forbidden_is_found() {
    let cases = [
        ("sql", "use crate::types::Error;\nuse crate::route::plan::Plan;", "2: sql uses route::plan"),
        ("sql", "use crate::{\n    types::Error,\n    proxy::Client,\n};", "1: sql uses proxy::Client"),
        ("sql", "use crate::{types::{Error, Kind}, auth, pool};", "1: sql uses pool"),
        ("wire", "fn f() -> crate::shardmap::ShardMap {}", "1: wire uses shardmap::ShardMap"),
        ("merge", "use crate::route::plan;", "1: merge uses route::plan"),
        ("shardmap", "use crate::config::Config;", "1: shardmap uses config::Config"),
        ("types", "use crate::nowhere::Thing;", "1: types uses nowhere::Thing, which is in no layer"),
        ("sql", "pub(in crate::cli) fn f() {}", "1: sql uses cli"),
        ("session", "\nuse tokio::net::TcpStream;", "2: session is below the I/O line and names tokio"),
        ("merge", "let now = std::time::Instant::now();", "names Instant::now"),
        ("wire", "static CACHE: OnceLock<u8> = OnceLock::new();", "names OnceLock"),
        ("config", "std::fs::read_to_string(path)", "names std::fs"),
        ("gossip", "", "module gossip is in no layer"),
    ];
    for (module, source, expected) in cases {
        let found = breaches(module, source);
        assert!(found.iter().any(|breach| breach.contains(expected)), "{expected} not in {found:?} for {source}");
    }
}
