//! Glob patterns as Redis matches them in `KEYS`, `SCAN` and ACLs, on bytes, and lists of them as `geo.keys` has.
//!
//! `*` any bytes, `?` one byte, `[a-z]` one of a class, `[^a-z]` one of all others, `\` the next byte as it is. The time
//! is bounded by pattern times text, whatever the pattern: after a mismatch only the last `*` takes another byte.

use std::ffi::c_char;

/// One thing that matches one byte, or any number of them.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Byte(u8),
    Any,
    Class { not: bool, ranges: Vec<(u8, u8)> },
    Star,
}

impl Part {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Part::Byte(own) => *own == byte,
            Part::Any | Part::Star => true,
            Part::Class { not, ranges } => ranges.iter().any(|range| within(byte, *range)) != *not,
        }
    }
}

/// The server compares C's `char`, which is signed on some machines.
fn within(byte: u8, (start, end): (u8, u8)) -> bool {
    let (byte, start, end) = (byte as c_char, start as c_char, end as c_char);
    (start.min(end)..=start.max(end)).contains(&byte)
}

/// One pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Glob(Vec<Part>);

impl Glob {
    pub fn new(mut pattern: &[u8]) -> Glob {
        let mut parts = Vec::new();
        while let Some((&first, mut rest)) = pattern.split_first() {
            let part = match (first, rest.first()) {
                (b'*', _) => Part::Star,
                (b'?', _) => Part::Any,
                (b'[', _) => class(&mut rest),
                (b'\\', Some(&next)) => {
                    rest = &rest[1..];
                    Part::Byte(next)
                }
                _ => Part::Byte(first),
            };
            if !(part == Part::Star && parts.last() == Some(&Part::Star)) {
                parts.push(part);
            }
            pattern = rest;
        }
        Glob(parts)
    }

    fn is_everything(&self) -> bool {
        self.0 == [Part::Star]
    }

    pub fn matches(&self, text: &[u8]) -> bool {
        let parts = &self.0;
        let (mut part, mut at) = (0, 0);
        // The last star met, and where what follows it is tried.
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match parts.get(part) {
                Some(Part::Star) => {
                    star = Some((part + 1, at));
                    part += 1;
                }
                Some(one) if one.takes(text[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => {
                    let Some((after, tried)) = star else { return false };
                    star = Some((after, tried + 1));
                    (part, at) = (after, tried + 1);
                }
            }
        }
        parts[part..].iter().all(|rest| *rest == Part::Star)
    }
}

/// A class, from behind its bracket. One that is not closed ends with the pattern.
fn class(rest: &mut &[u8]) -> Part {
    let mut ranges = Vec::new();
    let not = rest.first() == Some(&b'^');
    let mut left = &rest[usize::from(not)..];
    loop {
        left = match *left {
            [b'\\', byte, ref tail @ ..] => {
                ranges.push((byte, byte));
                tail
            }
            [b']', ref tail @ ..] => {
                *rest = tail;
                break;
            }
            [start, b'-', end, ref tail @ ..] => {
                ranges.push((start, end));
                tail
            }
            [byte, ref tail @ ..] => {
                ranges.push((byte, byte));
                tail
            }
            [] => {
                *rest = &[];
                break;
            }
        };
    }
    Part::Class { not, ranges }
}

/// Which keys are meant: those that one pattern matches, and none with `!` in front.
#[derive(Clone, Debug)]
pub struct Patterns {
    takes: Vec<Glob>,
    excludes: Vec<Glob>,
}

impl Patterns {
    /// Patterns between blanks or commas. Nothing but exclusions: all other keys. `None` when there is none.
    pub fn parse(text: &str) -> Option<Patterns> {
        let items = || text.split([' ', ',']).filter(|item| !item.is_empty());
        let globs = |excluded| {
            items()
                .filter_map(move |item| match (item.strip_prefix('!'), excluded) {
                    (Some(rest), true) => Some(Glob::new(rest.as_bytes())),
                    (None, false) => Some(Glob::new(item.as_bytes())),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        items().next()?;
        let (mut takes, excludes) = (globs(false), globs(true));
        if takes.is_empty() {
            takes.push(Glob(vec![Part::Star]));
        }
        Some(Patterns { takes, excludes })
    }

    /// Whether every key matches, so that none need be looked at.
    pub fn is_everything(&self) -> bool {
        self.excludes.is_empty() && self.takes.iter().any(Glob::is_everything)
    }

    pub fn matches(&self, key: &[u8]) -> bool {
        self.takes.iter().any(|glob| glob.matches(key)) && !self.excludes.iter().any(|glob| glob.matches(key))
    }
}

#[cfg(test)]
mod tests {
    use super::{Glob, Patterns};

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes()).matches(text.as_bytes())
    }

    #[test]
    fn as_redis_documents_them() {
        for (pattern, yes, no) in [
            ("h?llo", &["hello", "hallo", "hxllo"][..], &["hllo", "heello"][..]),
            ("h*llo", &["hllo", "heeeello"], &["hell", "ahllo"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo", "hllo"]),
            ("h[^e]llo", &["hallo", "hbllo"], &["hello", "hllo"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("*", &["", "a", "a b"], &[]),
            ("a*b*c", &["abc", "aXbYc", "abcbc"], &["ab", "acb", "abcd"]),
            ("", &[""], &["a"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn odd_patterns() {
        for (pattern, yes, no) in [
            ("\\*", "*", "a"),
            ("\\?", "?", "a"),
            ("\\", "\\", ""),
            ("a\\", "a\\", "a"),
            ("[\\]]", "]", "\\"),
            ("[\\-a]", "-", "b"),
            ("[]a", "a", "]a"),
            ("[abc", "b", "d"),
            ("[a-", "-", "b"),
            ("[^", "x", ""),
            ("x[a-]]", "x]", "xb"),
            ("[!a]", "!", "b"),
            ("**a", "a", "b"),
        ] {
            assert_eq!(
                (matches(pattern, yes), matches(pattern, no)),
                (pattern != "[]a", false),
                "{pattern}"
            );
        }
    }

    #[test]
    fn bytes_need_not_be_text() {
        assert!(Glob::new(b"\xff?[\x80-\x90]").matches(b"\xff\x00\x85"));
        assert!(!Glob::new(b"\xff?[\x80-\x90]").matches(b"\xff\x00\x95"));
    }

    #[test]
    fn no_pattern_takes_more_than_its_length_times_the_texts() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    #[test]
    fn exclusions_win() {
        let list = |text: &str| Patterns::parse(text).unwrap();
        let app = list("app:*, user:*  !app:tmp:* !*:lock");
        for (key, expected) in [
            ("app:1", true),
            ("user:1", true),
            ("app:tmp:1", false),
            ("user:lock", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(app.matches(key.as_bytes()), expected, "{key}");
        }
        assert!(list("!tmp:*").matches(b"a") && !list("!tmp:*").matches(b"tmp:a"));
        assert!(list("\\!a").matches(b"!a"));
        assert!(list("a *").is_everything() && list("**").is_everything());
        assert!(!list("* !a").is_everything() && !list("?*").is_everything());
        assert!(Patterns::parse("").is_none() && Patterns::parse(" , ").is_none());
    }
}
