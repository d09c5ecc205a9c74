//! Key specs of the server's own commands: where the keys are among the arguments.

use super::api::Nested;
use super::native::has_word;

#[derive(Debug, PartialEq)]
pub struct Spec {
    begin: Begin,
    find: Find,
}

#[derive(Debug, PartialEq)]
enum Begin {
    Index(usize),
    /// Behind a word, looked for from a position on, or backwards from one that is counted from the end.
    Keyword(Box<[u8]>, i64),
}

#[derive(Debug, PartialEq)]
enum Find {
    /// `last` is relative to the first key. Negative, it is counted from the end, or, with a `limit`, from the end of
    /// the first part of so many that the rest is divided into.
    Range { last: i64, step: usize, limit: usize },
    /// An argument says how many keys there are; both places are relative to the beginning.
    Count { at: usize, first: usize, step: usize },
}

impl Spec {
    /// What servers say of keys beside specs.
    pub fn range(first: i64, last: i64, step: i64) -> Spec {
        Spec {
            begin: Begin::Index(first.max(0) as usize),
            find: Find::Range {
                last: if last < 0 { last } else { last - first },
                step: step.max(1) as usize,
                limit: 0,
            },
        }
    }

    /// Positions of the keys in a command of `count` arguments.
    pub fn positions<'a>(
        &self,
        count: usize,
        argument: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> impl Iterator<Item = usize> {
        let found = self.bounds(count, argument);
        let (first, end, step) = found.unwrap_or((0, 0, 1));
        (first..end.min(count)).step_by(step)
    }

    /// First key, end and step.
    fn bounds<'a>(&self, count: usize, argument: impl Fn(usize) -> Option<&'a [u8]>) -> Option<(usize, usize, usize)> {
        let begin = match &self.begin {
            Begin::Index(index) => *index,
            Begin::Keyword(word, from) => {
                let is_word = |at: &usize| argument(*at).is_some_and(|one| one.eq_ignore_ascii_case(word));
                let at = match usize::try_from(*from) {
                    Ok(from) => (from..count).find(is_word),
                    Err(_) => (1..=count.checked_sub(from.unsigned_abs() as usize)?)
                        .rev()
                        .find(is_word),
                };
                at? + 1
            }
        };
        match self.find {
            Find::Range { last, step, limit } => {
                let rest = count.checked_sub(begin)?;
                let last = match usize::try_from(last) {
                    Ok(further) => begin + further,
                    Err(_) => {
                        let all = rest / limit.max(1);
                        begin + all.checked_sub(last.unsigned_abs() as usize)?
                    }
                };
                Some((begin, last + 1, step))
            }
            Find::Count { at, first, step } => {
                let keys = std::str::from_utf8(argument(begin + at)?).ok()?.parse::<usize>().ok()?;
                let first = begin + first;
                Some((first, first.saturating_add(keys.saturating_mul(step)), step))
            }
        }
    }
}

/// A flat map of `COMMAND`'s answer: a key spec, or a part of one.
pub struct Description<'a>(Vec<Nested<'a>>);

impl<'a> Description<'a> {
    pub fn new(spec: Nested<'a>) -> Description<'a> {
        Description(spec.items().collect())
    }

    fn field(&self, name: &[u8]) -> Option<&Nested<'a>> {
        let mut pairs = self.0.chunks_exact(2);
        pairs.find(|pair| pair[0].bytes() == Some(name)).map(|pair| &pair[1])
    }

    /// A step of the search: its type, and its numbers.
    fn step(&self, name: &[u8]) -> Option<(&'a [u8], Description<'a>)> {
        let step = Description(self.field(name)?.items().collect());
        let kind = step.field(b"type")?.bytes()?;
        Some((kind, Description(step.field(b"spec")?.items().collect())))
    }

    fn number(&self, name: &[u8]) -> Option<i64> {
        self.field(name)?.integer()
    }

    fn size(&self, name: &[u8]) -> Option<usize> {
        usize::try_from(self.number(name)?).ok()
    }

    pub fn writes(&self) -> bool {
        [&b"RW"[..], b"OW", b"RM"]
            .iter()
            .any(|flag| has_word(self.field(b"flags"), flag))
    }

    /// `None` when only the server can tell.
    pub fn read(&self) -> Option<Spec> {
        if has_word(self.field(b"flags"), b"incomplete") {
            return None;
        }
        let begin = match self.step(b"begin_search")? {
            (b"index", numbers) => Begin::Index(numbers.size(b"index")?),
            (b"keyword", numbers) => Begin::Keyword(
                numbers.field(b"keyword")?.bytes()?.into(),
                numbers.number(b"startfrom")?,
            ),
            _ => return None,
        };
        let find = match self.step(b"find_keys")? {
            (b"range", numbers) => Find::Range {
                last: numbers.number(b"lastkey")?,
                step: numbers.size(b"keystep").filter(|step| *step > 0)?,
                limit: numbers.size(b"limit")?,
            },
            (b"keynum", numbers) => Find::Count {
                at: numbers.size(b"keynumidx")?,
                first: numbers.size(b"firstkey")?,
                step: numbers.size(b"keystep").filter(|step| *step > 0)?,
            },
            _ => return None,
        };
        Some(Spec { begin, find })
    }
}

#[cfg(test)]
mod tests {
    use super::{Begin, Find, Spec};

    fn positions(begin: Begin, find: Find, line: &str) -> Vec<usize> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Spec { begin, find }
            .positions(words.len(), |at| words.get(at).copied())
            .collect()
    }

    fn range(last: i64, step: usize, limit: usize) -> Find {
        Find::Range { last, step, limit }
    }

    #[test]
    fn ranges() {
        let at = Begin::Index;
        assert_eq!(positions(at(1), range(0, 1, 0), "SET k v"), [1]);
        assert_eq!(positions(at(1), range(-1, 1, 0), "DEL a b c"), [1, 2, 3]);
        assert_eq!(positions(at(1), range(-1, 2, 0), "MSET a 1 b 2"), [1, 3]);
        assert_eq!(positions(at(1), range(-2, 1, 0), "BLPOP a b 0"), [1, 2]);
        assert_eq!(positions(at(1), range(1, 1, 0), "RENAME a b"), [1, 2]);
        assert_eq!(positions(at(2), range(0, 1, 0), "X k"), [0; 0]);
        assert_eq!(positions(at(1), range(-2, 1, 0), "X k"), [0; 0]);
        assert_eq!(
            Spec::range(1, 2, 1),
            Spec {
                begin: at(1),
                find: range(1, 1, 0)
            }
        );
        assert_eq!(
            Spec::range(1, -1, 2),
            Spec {
                begin: at(1),
                find: range(-1, 2, 0)
            }
        );
    }

    #[test]
    fn keywords() {
        let word = |word: &str, from| Begin::Keyword(word.as_bytes().into(), from);
        let line = "GEORADIUS k 0 0 1 m store d";
        assert_eq!(positions(word("STORE", 6), range(0, 1, 0), line), [7]);
        assert_eq!(positions(word("STOREDIST", 6), range(0, 1, 0), line), [0; 0]);
        assert_eq!(positions(word("STORE", 7), range(0, 1, 0), line), [0; 0]);
        let line = "XREADGROUP GROUP g c STREAMS a b 1 2";
        assert_eq!(positions(word("STREAMS", 4), range(-1, 1, 2), line), [5, 6]);
        let line = "MIGRATE h p  0 1 KEYS a b";
        assert_eq!(positions(word("KEYS", -2), range(-1, 1, 0), line), [7, 8]);
    }

    #[test]
    fn counts() {
        let count = || Find::Count {
            at: 0,
            first: 1,
            step: 1,
        };
        assert_eq!(positions(Begin::Index(1), count(), "LMPOP 2 a b LEFT"), [2, 3]);
        assert_eq!(positions(Begin::Index(2), count(), "BLMPOP 0 1 a LEFT"), [3]);
        for wrong in ["LMPOP x a", "LMPOP -1 a", "LMPOP", "LMPOP 0 a"] {
            assert_eq!(positions(Begin::Index(1), count(), wrong), [0; 0], "{wrong}");
        }
        assert_eq!(
            positions(Begin::Index(1), count(), "LMPOP 99999999999999999999 a"),
            [0; 0]
        );
        assert_eq!(positions(Begin::Index(1), count(), "LMPOP 18446744073709551615 a"), [2]);
    }
}
