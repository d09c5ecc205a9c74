//! `docs/commands.md`, from the table.

#![cfg(test)]

use super::{Arg, Row, Source, TABLE};

const HEAD: &str = "# Commands

Each command takes the syntax of the native command of the same name, and gives its replies and its errors: arity,
flags, ACL categories, keys and `COMMAND DOCS` are those that the running server gives for it. A command that the
server does not have is not there. Reading needs no commands of ours: values are native.

This page is made from the command table: `GEO_WRITE_DOCS=1 cargo test --lib documentation`.

| Command | How concurrent uses merge |
|---|---|
";

fn page() -> String {
    let native = TABLE.iter().filter(|row| matches!(row.source, Source::Native));
    let lines = native.map(|row| format!("| `{}` | {} |\n", row.name.to_uppercase(), row.merge));
    lines
        .chain(TABLE.iter().filter_map(section))
        .fold(HEAD.to_owned(), |page, part| page + &part)
}

/// One of our own.
fn section(row: &Row) -> Option<String> {
    let Source::Own(own) = &row.source else { return None };
    let name = row.name.to_uppercase();
    let syntax: Vec<String> = own.args.iter().map(one).collect();
    let line = format!("{name} {}", syntax.join(" "));
    let mut text = format!("\n## {name}\n\n    {}\n\n{}.\n\n", line.trim_end(), own.summary);
    if !row.merge.is_empty() {
        text += &format!("- Merge: {}\n", row.merge);
    }
    let acl: Vec<String> = own.categories.split(' ').map(|word| format!("@{word}")).collect();
    text += &format!(
        "- Complexity: {}\n- Flags: {}\n- ACL: {}\n",
        own.complexity,
        own.flags,
        acl.join(" ")
    );
    Some(text)
}

/// As documentation writes it: `[piece [piece ...]]`.
fn one(arg: &Arg) -> String {
    let repeated = if arg.multiple {
        format!("{0} [{0} ...]", arg.name)
    } else {
        arg.name.to_owned()
    };
    if arg.optional {
        format!("[{repeated}]")
    } else {
        repeated
    }
}

#[test]
fn documentation_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    if std::env::var_os("GEO_WRITE_DOCS").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/commands.md differs from the table: GEO_WRITE_DOCS=1 cargo test --lib documentation"
    );
}

#[test]
fn the_readme_lists_the_table() {
    let readme = include_str!("../../README.md");
    let (_, list) = readme.split_once("## Commands").unwrap();
    let (list, _) = list.split_once("## ").unwrap();
    let mut listed: Vec<String> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.strip_prefix("GEO."))
        .map(|code| format!("geo.{}", code.split(' ').next().unwrap_or_default().to_lowercase()))
        .collect();
    listed.sort();
    let internal = |row: &&Row| matches!(&row.source, Source::Own(own) if own.summary.starts_with("Internal:"));
    let mut rows: Vec<&str> = TABLE.iter().filter(|row| !internal(row)).map(|row| row.name).collect();
    rows.sort_unstable();
    assert_eq!(listed, rows);
}

#[test]
fn rows_are_consistent() {
    for row in TABLE {
        let name = row.name;
        assert!(name.starts_with("geo.") && name == name.to_lowercase(), "{name}");
        assert_eq!(
            TABLE.iter().filter(|other| other.name == name).count(),
            1,
            "{name} is listed twice"
        );
        let Source::Own(own) = &row.source else {
            assert!(!row.merge.is_empty(), "{name}: writes, and merges");
            continue;
        };
        let (write, read) = (own.flags.contains("write"), own.flags.contains("readonly"));
        assert!(write != read, "{name}: either a write or readonly");
        assert_eq!(write, !row.merge.is_empty(), "{name}: writes, and only they, merge");
        assert_eq!(own.flags.contains("fast"), own.categories.contains("fast"), "{name}");
        assert!(!own.summary.ends_with('.') && !own.complexity.is_empty(), "{name}");
    }
}
