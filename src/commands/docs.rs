//! `docs/commands.md`, from the table.

#![cfg(test)]

use super::{Arg, ArgKind, Row, TABLE};

const HEAD: &str = "# Commands

Each command takes the syntax of the native command of the same name, and gives its replies and its errors. Reading
needs no commands of ours: values are native.

This page is made from the command table: `GEO_WRITE_DOCS=1 cargo test --lib documentation`.
";

fn page() -> String {
    TABLE
        .iter()
        .fold(HEAD.to_owned(), |page, row| page + "\n" + &section(row))
}

fn section(row: &Row) -> String {
    let name = row.name.to_uppercase();
    let line = format!("{name} {}", syntax(row.args));
    let mut text = format!("## {name}\n\n    {}\n\n{}.\n\n", line.trim_end(), row.summary);
    if !row.merge.is_empty() {
        text += &format!("- Merge: {}\n", row.merge);
    }
    text += &format!(
        "- Complexity: {}\n- Flags: {}\n- ACL: {}\n",
        row.complexity,
        row.flags,
        acl(row)
    );
    text
}

fn acl(row: &Row) -> String {
    row.categories
        .split(' ')
        .map(|word| format!("@{word}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The syntax as documentation writes it: `key value [NX | XX]`.
fn syntax(args: &[Arg]) -> String {
    args.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn one(arg: &Arg) -> String {
    let plain = match arg.kind {
        ArgKind::Token => arg.token.to_owned(),
        ArgKind::OneOf(parts) => parts.iter().map(one).collect::<Vec<_>>().join(" | "),
        ArgKind::Block(parts) => syntax(parts),
        _ if arg.token.is_empty() => arg.name.to_owned(),
        _ => format!("{} {}", arg.token, arg.name),
    };
    let repeated = if arg.multiple {
        format!("{plain} [{plain} ...]")
    } else {
        plain
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
    let offered = TABLE.iter().filter(|row| !row.summary.starts_with("Internal:"));
    let mut rows: Vec<&str> = offered.map(|row| row.name).collect();
    rows.sort_unstable();
    assert_eq!(listed, rows);
}

#[test]
fn rows_are_consistent() {
    for row in TABLE {
        assert!(
            row.name.starts_with("geo.") && row.name == row.name.to_lowercase(),
            "{}",
            row.name
        );
        assert_eq!(
            TABLE.iter().filter(|other| other.name == row.name).count(),
            1,
            "{} is listed twice",
            row.name
        );
        let (write, read) = (row.flags.contains("write"), row.flags.contains("readonly"));
        assert!(write != read, "{}: either a write or readonly", row.name);
        assert_eq!(
            write,
            !row.merge.is_empty(),
            "{}: writes, and only they, merge",
            row.name
        );
        assert_eq!(
            row.flags.contains("fast"),
            row.categories.contains("fast"),
            "{}",
            row.name
        );
        let (first, last, step) = row.key_range();
        assert!(
            first >= 0 && (last >= first || last == -1) && (step > 0) != row.keys.is_empty(),
            "{}",
            row.name
        );
        assert!(
            !row.summary.ends_with('.') && !row.complexity.is_empty(),
            "{}",
            row.name
        );
    }
}
