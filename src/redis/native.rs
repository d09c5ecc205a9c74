//! What the running server says of its own write commands, and what each becomes: asked once, and again when another
//! module comes or goes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use smallvec::{SmallVec, smallvec};

use super::api::{Answer, Context, Nested, OwnedText, Text};
use super::keyspec::{Description, Spec};
use super::reply::Refusal;
use super::site::{FLAGS, MainThread};
use crate::commands::native::{Class, UNKNOWN, exception};
use crate::commands::{PREFIX, TABLE};

/// A native command that does not simply pass.
pub struct Known {
    /// As the server shows it: lower case, `xgroup|create` for a subcommand.
    pub name: Box<str>,
    /// What ACLs know it by.
    pub word: Box<CStr>,
    /// What takes the place of its name. This very text tells that a client sent the native name.
    pub form: OwnedText,
    pub arity: i64,
    pub keys: Keys,
    /// It may name another database and, run natively, leave its client there.
    pub strays: bool,
    pub treatment: Treatment,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Treatment {
    /// Becomes the GEO command of its name.
    Replicated,
    /// Becomes `geo.refused`, which says why.
    Refused(&'static str),
    /// Its subcommands are known by themselves.
    Container,
    /// Changes users.
    Acl,
    /// Runs what was queued.
    Exec,
}

/// Where the keys are that a command writes.
pub enum Keys {
    None,
    At(SmallVec<[Spec; 2]>),
    /// Only the server can tell, from the arguments.
    Ask,
    /// The same, and all keys are meant: it says of none that it is written.
    AskAll,
}

impl Known {
    /// Why it is refused.
    pub fn refusal(&self) -> Refusal {
        let why = match self.treatment {
            Treatment::Refused(why) => why,
            _ => UNKNOWN,
        };
        let scope = if matches!(self.keys, Keys::None) {
            ""
        } else {
            " on keys in geo.keys"
        };
        Refusal::from(format!(
            "ERR '{}' is not replicated and refused{scope}: {why}",
            self.name
        ))
    }

    pub fn takes(&self, count: usize) -> bool {
        let count = count as i64;
        if self.arity < 0 {
            count >= -self.arity
        } else {
            count == self.arity
        }
    }
}

/// Names in a hash table of our own: nothing is allocated to look a command up.
pub struct Natives {
    known: Vec<Known>,
    /// One more than an index, or 0. A power of two, at most a quarter of it used.
    slots: Box<[u16]>,
}

static NATIVES: MainThread<RefCell<Option<Natives>>> = MainThread(RefCell::new(None));

/// A Bloom filter of the names in [`NATIVES`], with one bit for each, in a byte. Every command of every client asks it.
static SHAPES: MainThread<[Cell<bool>; SHAPE_COUNT]> = MainThread([const { Cell::new(false) }; SHAPE_COUNT]);
const SHAPE_COUNT: usize = 1 << SHAPE_BITS;
const SHAPE_BITS: u32 = 12;

/// Of a name's first and last letters, in any case, and its length.
#[inline]
fn shape(name: &[u8]) -> usize {
    let (first, last) = match name {
        [] => return 0,
        [.., a, b, c, d] => {
            let first = [name[0], name[1], name[2], name[3]];
            (u32::from_le_bytes(first), u32::from_le_bytes([*a, *b, *c, *d]))
        }
        _ => (
            u32::from(name[0]) | u32::from(name[name.len() / 2]) << 8,
            u32::from(name[name.len() - 1]),
        ),
    };
    let both = u64::from(first | 0x2020_2020) << 32 | u64::from(last | 0x2020_2020);
    let mixed = (both ^ name.len() as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> (u64::BITS - SHAPE_BITS)) as usize
}

/// Whether [`find`] may find a name: seldom true of one that it does not.
#[inline]
pub fn may_be_known(name: &[u8]) -> bool {
    SHAPES.0[shape(name)].get()
}
static STALE: MainThread<Cell<bool>> = MainThread(Cell::new(true));

static RENAMED_MIGRATE: MainThread<Cell<bool>> = MainThread(Cell::new(false));

/// Whether `MIGRATE` runs under a name that is not known: a key that is gone may be on another server then.
pub fn migrate_is_renamed() -> bool {
    RENAMED_MIGRATE.0.get()
}

/// Commands may have come or gone.
pub fn forget() {
    STALE.0.set(true);
}

/// Asks the server, if that is due. Not while a filter runs.
pub fn refresh(ctx: Context<'_>) {
    if STALE.0.replace(false) {
        let old = NATIVES.0.take();
        let new = Natives::ask(ctx, old);
        *NATIVES.0.borrow_mut() = Some(new);
    }
}

/// Runs with the native command of a name, in any case.
pub fn find<R>(name: &[u8], run: impl FnOnce(&Natives, &Known) -> R) -> Option<R> {
    let natives = NATIVES.0.try_borrow().ok()?;
    let natives = natives.as_ref()?;
    natives.find(name).map(|known| run(natives, known))
}

/// Runs with what a client sent that now has `form` as its name: `None` when it sent that name itself.
pub fn sent<R>(form: Text<'_>, run: impl FnOnce(&Known) -> R) -> Option<R> {
    let natives = NATIVES.0.try_borrow().ok()?;
    let natives = natives.as_ref()?;
    let is_sent = |known: &&Known| known.form.text().raw == form.raw;
    let known = match form.bytes().get(PREFIX.len()..).and_then(|name| natives.find(name)) {
        Some(known) => is_sent(&known).then_some(known)?,
        // All that is refused has the same form.
        None => natives.known.iter().find(is_sent)?,
    };
    Some(run(known))
}

/// The GEO commands that clients' commands become here.
pub fn forms() -> Vec<String> {
    let natives = NATIVES.0.borrow();
    let known = natives.iter().flat_map(|natives| &natives.known);
    let mut forms: Vec<String> = known
        .filter(|known| matches!(known.treatment, Treatment::Replicated | Treatment::Refused(_)))
        .map(|known| String::from_utf8_lossy(known.form.text().bytes()).into_owned())
        .collect();
    forms.sort();
    forms.dedup();
    forms
}

impl Natives {
    fn ask(ctx: Context<'_>, old: Option<Natives>) -> Natives {
        // Queued commands may hold the old texts, and are known by them.
        let old = old.into_iter().flat_map(|natives| natives.known);
        let mut texts: HashMap<Box<str>, Known> = old.map(|known| (known.name.clone(), known)).collect();
        let mut known = Vec::new();
        let all = ctx.ask(c"COMMAND", &[]);
        let names: Vec<OwnedText> = std::iter::once(OwnedText::new(b"INFO"))
            .chain(
                all.iter()
                    .flat_map(Answer::items)
                    .filter_map(|entry| name_of(&entry).map(OwnedText::new)),
            )
            .collect();
        // A renamed command is listed under its old name, under which it is not found.
        let texts_of: Vec<Text<'_>> = names.iter().map(OwnedText::text).collect();
        let found = ctx.ask(c"COMMAND", &texts_of);
        for (entry, name) in found.iter().flat_map(Answer::items).zip(&texts_of[1..]) {
            if name_of(&entry).is_some() {
                known.extend(describe(&entry));
            } else {
                let name = String::from_utf8_lossy(name.bytes());
                RENAMED_MIGRATE.0.set(RENAMED_MIGRATE.0.get() || name == "migrate");
                let text = format!(
                    "command {name} is renamed: under its other name, what it writes is found afterwards and replicated \
                     key by key, as whole values"
                );
                ctx.log(c"warning", &text);
            }
        }
        for one in &mut known {
            if let Some(old) = texts.remove(&one.name)
                && old.form.text().bytes() == one.form.text().bytes()
            {
                one.form = old.form;
            }
        }
        SHAPES.0.iter().for_each(|one| one.set(false));
        known
            .iter()
            .for_each(|one| SHAPES.0[shape(one.name.as_bytes())].set(true));
        Natives::new(known)
    }

    fn new(known: Vec<Known>) -> Natives {
        let mut slots = vec![0u16; (known.len() * 4).next_power_of_two().max(256)].into_boxed_slice();
        for (index, one) in known.iter().enumerate() {
            let mut slot = hash(one.name.as_bytes());
            while slots[slot % slots.len()] != 0 {
                slot += 1;
            }
            let len = slots.len();
            slots[slot % len] = index as u16 + 1;
        }
        Natives { known, slots }
    }

    pub fn find(&self, name: &[u8]) -> Option<&Known> {
        let mut slot = hash(name);
        loop {
            let index = self.slots[slot & (self.slots.len() - 1)];
            let known = self.known.get(usize::from(index).checked_sub(1)?)?;
            if known.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(known);
            }
            slot += 1;
        }
    }
}

/// Of the letters' lower five bits, so that case makes no difference.
fn hash(name: &[u8]) -> usize {
    let mut hash = name.len();
    for byte in name {
        hash = hash.wrapping_mul(31).wrapping_add(usize::from(byte & 31));
    }
    hash
}

/// The name in an entry of `COMMAND`; there is none in the null of a command that does not exist.
fn name_of<'a>(entry: &Nested<'a>) -> Option<&'a [u8]> {
    entry.items().next()?.bytes()
}

/// One entry of `COMMAND`: a command that does not simply pass, or what its subcommands are.
fn describe(entry: &Nested<'_>) -> Vec<Known> {
    let fields: Vec<Nested<'_>> = entry.items().collect();
    // Some of a module's are shown in capitals.
    let Some(name) = fields.first().and_then(Nested::bytes).map(<[u8]>::to_ascii_lowercase) else {
        return Vec::new();
    };
    let name = name.as_slice();
    if name.starts_with(PREFIX.as_bytes()) {
        return Vec::new();
    }
    let subcommands = fields.get(9).into_iter().flat_map(Nested::items);
    let mut known: Vec<Known> = subcommands.flat_map(|entry| describe(&entry)).collect();
    let treatment = match name {
        b"acl" => Some(Treatment::Acl),
        b"exec" => Some(Treatment::Exec),
        _ if !known.is_empty() => Some(Treatment::Container),
        _ if has_word(fields.get(2), b"write") => treatment(name),
        _ => None,
    };
    if treatment == Some(Treatment::Acl) {
        known.clear();
    }
    known.extend(treatment.and_then(|treatment| one(name, &fields, treatment)));
    known
}

fn treatment(name: &[u8]) -> Option<Treatment> {
    if TABLE.iter().any(|row| row.native().map(str::as_bytes) == Some(name)) {
        return Some(Treatment::Replicated);
    }
    match exception(name) {
        Some(Class::Refused(why)) => Some(Treatment::Refused(why)),
        Some(Class::LocalOnly(_)) => None,
        None => Some(Treatment::Refused(UNKNOWN)),
    }
}

fn one(name: &[u8], fields: &[Nested<'_>], treatment: Treatment) -> Option<Known> {
    let form = match treatment {
        Treatment::Replicated => [PREFIX.as_bytes(), name].concat(),
        _ => b"geo.refused".to_vec(),
    };
    let word = name.split(|byte| *byte == b'|').next()?;
    Some(Known {
        name: std::str::from_utf8(name).ok()?.into(),
        word: CString::new(word).ok()?.into(),
        form: OwnedText::new(&form),
        arity: fields.get(1)?.integer()?,
        keys: keys(fields),
        strays: FLAGS.0.strays.get() && matches!(name, b"copy" | b"move"),
        treatment,
    })
}

pub fn has_word(list: Option<&Nested<'_>>, word: &[u8]) -> bool {
    list.is_some_and(|list| list.strings().any(|one| one == word))
}

/// From the key specs: those that write, or all when the server says of none that it writes.
fn keys(fields: &[Nested<'_>]) -> Keys {
    let specs: Vec<Description<'_>> = fields
        .get(8)
        .map(|specs| specs.items().map(Description::new).collect())
        .unwrap_or_default();
    let writes = specs.iter().any(|spec| spec.writes());
    let mut found = SmallVec::new();
    for spec in specs.iter().filter(|spec| spec.writes() || !writes) {
        match spec.read() {
            Some(spec) => found.push(spec),
            None if writes => return Keys::Ask,
            None => return Keys::AskAll,
        }
    }
    if !found.is_empty() {
        return Keys::At(found);
    }
    // A module's command may have positions and no specs.
    let number = |at: usize| fields.get(at).and_then(Nested::integer).unwrap_or(0);
    match number(3) {
        _ if has_word(fields.get(2), b"movablekeys") => Keys::AskAll,
        ..=0 => Keys::None,
        first => Keys::At(smallvec![Spec::range(first, number(4), number(5))]),
    }
}

#[cfg(test)]
mod tests {
    use super::{TABLE, shape};

    #[test]
    fn a_shape_has_no_case_and_tells_reads_from_writes() {
        let names: Vec<&str> = TABLE.iter().filter_map(|row| row.native()).collect();
        for name in &names {
            assert_eq!(
                shape(name.as_bytes()),
                shape(name.to_ascii_uppercase().as_bytes()),
                "{name}"
            );
        }
        for read in [
            "get", "hget", "mget", "exists", "zrange", "smembers", "ttl", "hgetall", "ping", "scan",
        ] {
            let alike = names
                .iter()
                .find(|name| shape(name.as_bytes()) == shape(read.as_bytes()));
            assert_eq!(alike, None, "{read}");
        }
    }
}
