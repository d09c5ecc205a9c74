//! Access control of commands that have two names. The server checks a user against the name it sees, `geo.set`; what
//! the operator has granted or denied is `set`. So users get the GEO forms in a selector of their own, and each form
//! asks whether the user may run the native command on these arguments.
//!
//! Nobody is asked while all users may do everything. That is known from a look at the users, and forgotten whenever
//! a command that changes users passes the filter.

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, c_int};

use redis_module::raw;
use smallvec::SmallVec;

use super::api::{Context, OwnedText, Text, api, has};
use super::attention;
use super::filter::Arguments;
use super::kept;
use super::native::{self, Treatment};
use super::reply::Refusal;
use super::settings;
use super::site::{self, FLAGS, MainThread};

struct State {
    /// The filter is there to tell of changes.
    watched: Cell<bool>,
    /// Every user may run every command on every key.
    free: Cell<bool>,
    /// Every user is in the list, with rules of the sorts known here: what we are told of a client's rights is what the
    /// server goes by.
    listed: Cell<bool>,
    /// To look again before the next command, or at the end of the turn.
    now: Cell<bool>,
    soon: Cell<bool>,
    /// A command that changes users was seen: a transaction may hold it.
    seen: Cell<bool>,
    /// It was seen during a pause of the clients, and may run at any time.
    late: Cell<bool>,
    /// That users cannot be looked at was logged.
    said: Cell<bool>,
}

static STATE: MainThread<State> = MainThread(State {
    watched: Cell::new(false),
    free: Cell::new(false),
    listed: Cell::new(false),
    now: Cell::new(false),
    soon: Cell::new(true),
    seen: Cell::new(false),
    late: Cell::new(false),
    said: Cell::new(false),
});

/// From here on the filter tells of changes, or does not.
pub fn watch(on: bool) {
    STATE.0.watched.set(on);
    forget();
}

/// Settings, modules or users may be others now.
pub fn forget() {
    STATE.0.free.set(false);
    STATE.0.listed.set(false);
    STATE.0.soon.set(true);
    attention::call();
}

/// The filter sees a command of the family `ACL`.
pub fn may_change(word: &[u8]) {
    let changes = ["setuser", "deluser", "load"];
    if changes.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes())) {
        STATE.0.seen.set(true);
        STATE.0.now.set(true);
        may_have_changed();
    }
}

/// The filter sees the end of a transaction.
pub fn may_have_changed() {
    if STATE.0.seen.get() {
        STATE.0.late.set(STATE.0.late.get() || !site::may_propagate());
        forget();
    }
}

/// In the filter: whether [`before_command`] has something to do.
pub fn is_due() -> bool {
    STATE.0.now.get()
}

/// In the filter: what the command before has changed holds for this one.
pub fn before_command() {
    if STATE.0.now.replace(false)
        && let Some(ctx) = kept::context()
    {
        look(ctx);
    }
}

/// In the filter: whether the server itself refuses a command as it stands while its client's transaction is queued,
/// which discards the transaction. Where the server might go by anything that we are not told of, the answer is no: it
/// would queue a native command.
pub fn refuses_to_queue(arguments: &Arguments) -> bool {
    if STATE.0.free.get() || !STATE.0.listed.get() {
        return false;
    }
    let client = arguments.client().filter(|client| is_in_transaction(*client));
    let Some((client, ctx)) = client.zip(kept::context()) else {
        return false;
    };
    // SAFETY: a listed client; the caller owns the name.
    let name = unsafe { api!(RedisModule_GetClientUserNameById(ctx.raw, client)) };
    if name.is_null() {
        return false;
    }
    // SAFETY: as above.
    let name = unsafe { OwnedText::from_raw(name) };
    User::of(name.text(), |user| {
        permits(user, &arguments.all(), None) == Err(libc::EACCES)
    })
    .unwrap_or(false)
}

fn is_in_transaction(client: u64) -> bool {
    // SAFETY: plain data, whose version says how much of it the server fills in.
    unsafe {
        let mut info: raw::RedisModuleClientInfoV1 = std::mem::zeroed();
        info.version = 1;
        let found = api!(RedisModule_GetClientInfoById((&raw mut info).cast(), client)) == raw::REDISMODULE_OK as i32;
        found && info.flags & u64::from(raw::REDISMODULE_CLIENTINFO_FLAG_MULTI) != 0
    }
}

/// At the end of a turn.
pub fn refresh(ctx: Context<'_>) {
    if STATE.0.soon.replace(false) {
        look(ctx);
    }
}

/// Grants what is missing, and notes whether anybody is restricted.
fn look(ctx: Context<'_>) {
    STATE.0.free.set(false);
    STATE.0.listed.set(false);
    let list = OwnedText::new(b"LIST");
    let Some(users) = ctx.ask(c"ACL", &[list.text()]).filter(|users| !users.is_error()) else {
        if !STATE.0.said.replace(true) {
            ctx.log(
                c"warning",
                "ACL LIST does not run here: users who are not allowed geo.* commands cannot write",
            );
        }
        return;
    };
    let users: Vec<String> = users
        .strings()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let parsed: Vec<Rules<'_>> = users.iter().filter_map(|line| Rules::parse(line)).collect();
    let understood = parsed.len() == users.len() && parsed.iter().all(Rules::are_understood);
    let restricted: Vec<Rules<'_>> = parsed.into_iter().filter(|user| !user.is_free()).collect();
    if settings::transparent() && settings::acl_grant() {
        let forms = native::forms();
        let missing = restricted.iter().filter(|user| !user.has_all(&forms));
        missing.for_each(|user| grant(ctx, user.name, &forms));
    }
    let known = STATE.0.watched.get() && !STATE.0.late.get() && is_alone(ctx);
    STATE.0.free.set(restricted.is_empty() && known);
    STATE.0.listed.set(understood && known);
}

/// What some servers are built with, which has no users and changes none.
const BUILT_IN: [&[u8]; 2] = [b"vectorset", b"lua"];

/// Other modules may have users of their own, who are not listed, and may change users without a command.
fn is_alone(ctx: Context<'_>) -> bool {
    let list = OwnedText::new(b"LIST");
    ctx.ask(c"MODULE", &[list.text()]).is_some_and(|modules| {
        let others = modules
            .items()
            .filter(|module| !module.strings().nth(1).is_some_and(|name| BUILT_IN.contains(&name)));
        others.count() == 1
    })
}

fn grant(ctx: Context<'_>, name: &str, forms: &[String]) {
    let words = [b"SETUSER".to_vec(), name.into(), selector(forms).into_bytes()].map(|word| OwnedText::new(&word));
    let answer = ctx.ask(c"ACL", &words.each_ref().map(OwnedText::text));
    if answer.is_none_or(|answer| answer.is_error()) {
        ctx.log(
            c"warning",
            &format!("user {name} cannot be granted the geo.* commands: its writes are refused"),
        );
    }
}

/// Takes the GEO forms from everybody.
pub fn revoke(ctx: Context<'_>) {
    let list = OwnedText::new(b"LIST");
    let Some(users) = ctx.ask(c"ACL", &[list.text()]) else {
        return;
    };
    for line in users.strings().map(String::from_utf8_lossy) {
        let Some(user) = Rules::parse(&line).filter(Rules::is_granted) else {
            continue;
        };
        let kept = user.selectors.iter().filter(|rules| !is_grant(rules));
        let words: Vec<OwnedText> = ["SETUSER".to_owned(), user.name.to_owned(), "clearselectors".to_owned()]
            .into_iter()
            .chain(kept.map(|rules| format!("({})", rules.join(" "))))
            .map(|word| OwnedText::new(word.as_bytes()))
            .collect();
        let answer = ctx.ask(c"ACL", &words.iter().map(OwnedText::text).collect::<Vec<_>>());
        if answer.is_none_or(|answer| answer.is_error()) {
            let text = format!(
                "user {} still has a selector with geo.* commands: see ACL LIST",
                user.name
            );
            ctx.log(c"warning", &text);
        }
    }
}

/// Whether a selector is one of ours: GEO forms on all keys, and nothing else.
fn is_grant(rules: &[&str]) -> bool {
    let ours = |rule: &&str| rule.starts_with("+geo.");
    let known = |rule: &&str| ours(rule) || ["~*", "resetchannels", "-@all"].contains(rule);
    rules.iter().any(ours) && rules.iter().all(known)
}

fn selector(forms: &[String]) -> String {
    let commands: Vec<String> = forms.iter().map(|form| format!("+{form}")).collect();
    format!("(~* {})", commands.join(" "))
}

/// Rules that restrict nothing.
const HARMLESS: &[&str] = &[
    "on",
    "off",
    "nopass",
    "sanitize-payload",
    "skip-sanitize-payload",
    "resetchannels",
    "alldbs",
    "~*",
    "+@all",
];

/// One line of `ACL LIST`.
struct Rules<'a> {
    name: &'a str,
    root: Vec<&'a str>,
    selectors: Vec<Vec<&'a str>>,
}

impl<'a> Rules<'a> {
    /// `user name on nopass ~* +@all (~a* +get)`: neither names nor patterns have blanks.
    fn parse(line: &'a str) -> Option<Rules<'a>> {
        let mut words = line.split(' ').skip(1);
        let mut user = Rules {
            name: words.next()?,
            root: Vec::new(),
            selectors: Vec::new(),
        };
        let mut inside = false;
        for word in words {
            let opens = word.starts_with('(');
            if opens {
                inside = true;
                user.selectors.push(Vec::new());
            }
            let closes = inside && word.ends_with(')');
            let rule = if opens { &word[1..] } else { word };
            let rule = if closes { &rule[..rule.len() - 1] } else { rule };
            match user.selectors.last_mut().filter(|_| inside) {
                Some(selector) => selector.push(rule),
                None => user.root.push(rule),
            }
            inside &= !closes;
        }
        Some(user)
    }

    /// What is not known to give everything, restricts.
    fn is_free(&self) -> bool {
        let harmless = |rule: &&str| HARMLESS.contains(rule) || rule.starts_with(['#', '&']);
        ["~*", "+@all"].iter().all(|rule| self.root.contains(rule)) && self.root.iter().all(harmless)
    }

    /// Whether all rules are of sorts that only a command's name and arguments decide.
    fn are_understood(&self) -> bool {
        let known = |rule: &&str| HARMLESS.contains(rule) || rule.starts_with(['#', '&', '~', '%', '+', '-']);
        self.root.iter().chain(self.selectors.iter().flatten()).all(known)
    }

    fn is_granted(&self) -> bool {
        self.selectors.iter().any(|rules| is_grant(rules))
    }

    fn has_all(&self, forms: &[String]) -> bool {
        let has = |rules: &Vec<&str>, form: &String| rules.iter().any(|rule| rule.strip_prefix('+') == Some(form));
        let grants = |rules: &Vec<&str>| rules.contains(&"~*") && forms.iter().all(|form| has(rules, form));
        self.selectors.iter().any(grants)
    }
}

/// Before a command with a native form runs: refuses it to whom the native command would be refused.
pub fn check(ctx: Context<'_>, arguments: &[Text<'_>]) -> Result<(), Refusal> {
    if STATE.0.free.get() || !FLAGS.0.recording() {
        return Ok(());
    }
    native::refresh(ctx);
    let Some(form) = arguments.first() else {
        return Ok(());
    };
    let native = native_word(*form).map(|word| (word, &arguments[1..]));
    let stands_in = native.is_none();
    let Some((word, rest)) = native.or_else(|| Some((stand_in(*form)?.into(), &[][..]))) else {
        return Ok(());
    };
    let Some(name) = user_name(ctx) else {
        return Ok(());
    };
    let own = OwnedText::new(word.to_bytes());
    let mut native: SmallVec<[Text<'_>; 16]> = smallvec::smallvec![own.text()];
    native.extend_from_slice(rest);
    let permitted = User::of(name.text(), |user| {
        let permitted = match permits(user, &native, Some(ctx.database())) {
            Ok(()) => true,
            // It may have been renamed: then nothing stands in for ours.
            Err(why) => stands_in && why != libc::EACCES,
        };
        if !permitted {
            note(ctx, user, own.text());
        }
        permitted
    });
    if permitted == Some(true) {
        Ok(())
    } else {
        Err(refusal(ctx, &name, &native))
    }
}

/// A user of the server's own list.
struct User(*mut raw::RedisModuleUser);

impl User {
    /// Runs with the user of a name, if there is one.
    fn of<R>(name: Text<'_>, run: impl FnOnce(&User) -> R) -> Option<R> {
        // SAFETY: freed by Drop, after its last use.
        let user = unsafe { api!(RedisModule_GetModuleUserFromUserName(name.raw)) };
        (!user.is_null()).then(|| run(&User(user)))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { api!(RedisModule_FreeModuleUser(self.0)) };
    }
}

/// Whether a user may run a command in a database; `EACCES` when it may not.
fn permits(user: &User, command: &[Text<'_>], database: Option<u32>) -> Result<(), i32> {
    // SAFETY: `Text` is transparent over the pointers the server wants, and it changes none; errno is this thread's own.
    unsafe {
        *libc::__errno_location() = 0;
        let (argv, argc) = (command.as_ptr().cast_mut().cast(), command.len() as c_int);
        let answer = match (check_in_database(), database) {
            (Some(check), Some(database)) => check(user.0, argv, argc, database as c_int, &mut 0),
            _ => api!(RedisModule_ACLCheckCommandPermissions(user.0, argv, argc)),
        };
        match answer == raw::REDISMODULE_OK as c_int {
            true => Ok(()),
            false => Err(*libc::__errno_location()),
        }
    }
}

/// User, arguments, how many, database; and where to write a reason.
type CheckInDatabase = unsafe extern "C" fn(
    *mut raw::RedisModuleUser,
    *mut *mut raw::RedisModuleString,
    c_int,
    c_int,
    *mut c_int,
) -> c_int;

/// `ACLCheckPermissions` of Valkey 9.1, whose users may have rules for databases: to the older function these deny every
/// command that has keys.
fn check_in_database() -> Option<CheckInDatabase> {
    static FOUND: MainThread<OnceCell<Option<CheckInDatabase>>> = MainThread(OnceCell::new());
    *FOUND.0.get_or_init(|| {
        let mut function: Option<CheckInDatabase> = None;
        // SAFETY: the server writes the address of a function of this type, or nothing.
        let found = unsafe {
            api!(RedisModule_GetApi(
                c"RedisModule_ACLCheckPermissions".as_ptr(),
                (&raw mut function).cast()
            ))
        };
        function.filter(|_| found == raw::REDISMODULE_OK as c_int)
    })
}

/// In the server's log of denied commands.
fn note(ctx: Context<'_>, user: &User, command: Text<'_>) {
    let reason = raw::RedisModuleACLLogEntryReason_REDISMODULE_ACL_LOG_CMD;
    // SAFETY: live arguments, and a function that the server has.
    unsafe {
        if has!(RedisModule_ACLAddLogEntry) {
            api!(RedisModule_ACLAddLogEntry(ctx.raw, user.0, command.raw, reason));
        }
    }
}

/// Of the client that runs this command. `None`: the server or another module runs it, who have no user and may do
/// everything.
fn user_name(ctx: Context<'_>) -> Option<OwnedText> {
    // SAFETY: in a command's context; the caller owns the name.
    unsafe {
        let id = api!(RedisModule_GetClientId(ctx.raw));
        let name = api!(RedisModule_GetClientUserNameById(ctx.raw, id));
        if !name.is_null() {
            return Some(OwnedText::from_raw(name));
        }
        // A script's command comes from a client that is not listed, as does a module's. To ask for its user when there
        // is none would crash the server; that there is none shows where a command is run in its name.
        if !ctx.has_user() {
            return None;
        }
        Some(OwnedText::from_raw(api!(RedisModule_GetCurrentUserName(ctx.raw))))
    }
}

fn native_word(form: Text<'_>) -> Option<Box<CStr>> {
    native::sent(form, |known| known.word.clone()).or_else(|| {
        let name = form.bytes().get(crate::commands::PREFIX.len()..)?;
        let replicated = |known: &native::Known| known.treatment == Treatment::Replicated;
        native::find(name, |_, known| replicated(known).then(|| known.word.clone()))?
    })
}

/// Before Redis 7.2 the commands of modules are in no category, so `-@dangerous` does not take them away: who may not run
/// this native command, of the categories that ours has on newer servers, may not run ours.
fn stand_in(form: Text<'_>) -> Option<&'static CStr> {
    // SAFETY: only asks whether the server has the function.
    if unsafe { has!(RedisModule_SetCommandACLCategories) } {
        return None;
    }
    let is = |name: &str| form.bytes().eq_ignore_ascii_case(name.as_bytes());
    if ["geo.purge", "geo.adopt"].into_iter().any(is) {
        Some(c"flushall")
    } else if ["geo.recover", "geo.detach"].into_iter().any(is) {
        Some(c"replicaof")
    } else {
        None
    }
}

/// The server's own words, which differ by version. `ACL DRYRUN` says more of keys than the server tells clients.
fn refusal(ctx: Context<'_>, user: &OwnedText, native: &[Text<'_>]) -> Refusal {
    let dry = dry_run(ctx, user, native).unwrap_or_default();
    let old = dry.starts_with("This user");
    let of_key = dry.ends_with("' key");
    let text = match (old, of_key) {
        (true, true) => "this user has no permissions to access one of the keys used as arguments".to_owned(),
        (true, false) => dry.replacen("This", "this", 1),
        (false, true) => "No permissions to access a key".to_owned(),
        (false, false) if dry.is_empty() || dry == "OK" => "this user may not run this command".to_owned(),
        (false, false) => dry,
    };
    let text = match (site::in_script(ctx), old, of_key) {
        (false, ..) => format!("NOPERM {text}"),
        (true, false, _) => format!("ERR ACL failure in script: {text}"),
        (true, true, false) => "ERR The user executing the script can't run this command or subcommand".to_owned(),
        (true, true, true) => {
            "ERR The user executing the script can't access at least one of the keys mentioned in the command \
             arguments"
                .to_owned()
        }
    };
    Refusal::from(text)
}

fn dry_run(ctx: Context<'_>, user: &OwnedText, native: &[Text<'_>]) -> Option<String> {
    let dry_run = OwnedText::new(b"DRYRUN");
    let mut all = vec![dry_run.text(), user.text()];
    all.extend_from_slice(native);
    let answer = ctx.ask(c"ACL", &all)?;
    answer.bytes().map(|text| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{Rules, selector};

    fn is_free(line: &str) -> bool {
        Rules::parse(line).unwrap().is_free()
    }

    #[test]
    fn who_may_do_everything() {
        assert!(is_free("user default on nopass sanitize-payload ~* &* +@all"));
        assert!(is_free("user a off #abc ~* resetchannels +@all"));
        for line in [
            "user a on ~* &* +@all -set",
            "user a on ~a* &* +@all",
            "user a on %R~* &* +@all",
            "user a on ~* &* -@all +set",
            "user a on ~* &* +@all db=0",
            "user a on resetchannels -@all (~* +@all)",
        ] {
            assert!(!is_free(line), "{line}");
        }
    }

    #[test]
    fn rules_of_other_sorts_are_not_understood() {
        let are_understood = |line: &str| Rules::parse(line).unwrap().are_understood();
        assert!(are_understood(
            "user a on #abc ~a* %R~b &* -@all +set|get (~* resetchannels -@all +geo.set)"
        ));
        for line in [
            "user a on ~* +@all db=0",
            "user a on ~* +@all (~* db=1 +@all)",
            "user a on new ~* +@all",
        ] {
            assert!(!are_understood(line), "{line}");
        }
    }

    #[test]
    fn only_our_own_selectors_are_taken_away() {
        let granted = |line: &str| Rules::parse(line).unwrap().is_granted();
        assert!(granted(
            "user a on -@all (~x +get) (~* resetchannels -@all +geo.set +geo.del)"
        ));
        for line in [
            "user a on -@all +geo.set",
            "user a on -@all (~* -@all +geo.set +get)",
            "user a on -@all (~x -@all +geo.set)",
            "user a on -@all (~* -@all)",
        ] {
            assert!(!granted(line), "{line}");
        }
    }

    #[test]
    fn a_grant_is_recognised() {
        let forms = ["geo.set".to_owned(), "geo.del".to_owned()];
        let has_all = |line: &str| Rules::parse(line).unwrap().has_all(&forms);
        assert!(has_all(&format!("user a on -@all {}", selector(&forms))));
        assert!(has_all(
            "user a on -@all (~x* +get) (~* resetchannels -@all +geo.set +geo.del +geo.incr) (~y)"
        ));
        for line in [
            "user a on ~* -@all +geo.set +geo.del",
            "user a on -@all (~* -@all +geo.set)",
            "user a on -@all (~* -@all +geo.set) (~* +geo.del)",
            "user a on -@all (~a* -@all +geo.set +geo.del)",
            "user a on -@all (~b) ~* +geo.set +geo.del",
        ] {
            assert!(!has_all(line), "{line}");
        }
    }
}
