//! What two regions end with when they do things to one key concurrently: the tables of `docs/semantics.md`.
//!
//! Each pair of acts runs with a start that has settled and one that has not, with either clock ahead, and over each
//! [`Road`]. All regions must end the same, and equal in all runs; only where [`Claim::contends`] says so may it, and
//! must it, matter whose clock is ahead. `GEO_BLESS=1` writes the tables anew.

mod acts;

use std::collections::BTreeMap;

use redis_geo::crdt::{Element, Kind, MemoryStore, OwnedValue, Store, Value};
use redis_geo::replication::Limits;

use crate::cluster::{Cluster, key, limits};
use acts::{Act, Client, F, HASHES, M, SETS, SKETCHES, STRINGS, TTL, ZSETS, counted, renamed, score, sketch};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md");

const EU: usize = 0;
const US: usize = 1;
/// It does nothing itself.
const AP: usize = 2;

/// Clocks differ by so many ms, too little to be corrected.
const AHEAD: i64 = 300;

struct Table {
    name: &'static str,
    start: Vec<(Element<'static>, Value<'static>)>,
    acts: &'static [Act],
    expires: bool,
}

/// How what was done reaches the others.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Road {
    /// Everybody hears of eu's acts, then of us's.
    EuFirst,
    UsFirst,
    /// The links were cut: transfers.
    Transfer,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Run {
    settled: bool,
    ahead: usize,
    road: Road,
}

/// By row and column of the table.
type Cells = BTreeMap<(usize, usize), String>;

fn runs() -> Vec<Run> {
    let roads = [Road::EuFirst, Road::UsFirst, Road::Transfer];
    let with = |settled, ahead| roads.map(|road| Run { settled, ahead, road });
    [with(true, EU), with(true, US), with(false, EU), with(false, US)].concat()
}

fn name(row: usize, column: usize) -> String {
    format!("{row}-{column}")
}

impl Table {
    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.acts.len();
        all.clone()
            .flat_map(|row| all.clone().map(move |column| (row, column)))
            .collect()
    }

    /// How long after the acts the pair's key is due, in ms by a right clock. Where it is to expire in one region, the
    /// other acts before it is due there: a server whose clock is behind still has the key when it hears of that.
    fn due(&self, (row, column): (usize, usize), ahead: usize) -> Option<u64> {
        let expire = [self.acts[row].is_expiry(), self.acts[column].is_expiry()];
        match expire {
            [false, false] => self.expires.then_some(TTL * 1000),
            expire if expire[ahead] => Some(EXPIRES + AHEAD as u64 - 150),
            _ => Some(AHEAD as u64 + 100),
        }
    }

    fn run(&self, run: Run) -> Result<Cells, String> {
        let limits = Limits {
            slice_cells: 7,
            slice_bytes: 500,
            ..limits()
        };
        let mut cluster = Cluster::with_base(&["eu", "us", "ap"], &[], limits);
        cluster.skews[run.ahead] = AHEAD;
        let acted = cluster.wall(AP) + SETTLING + PAUSE;
        for pair in self.pairs() {
            let until = self.due(pair, run.ahead).map(|due| acted + due);
            client(&mut cluster, AP, pair, |client| client.start(&self.start, until));
        }
        self.spread(&mut cluster, run);
        assert_eq!(cluster.wall(AP), acted);
        part(&mut cluster, run.road);
        for (row, column) in self.pairs() {
            for (at, act) in [(EU, row), (US, column)] {
                client(&mut cluster, at, (row, column), |client| {
                    (self.acts[act].does)(client, at)
                });
            }
        }
        cluster.pass(EXPIRES);
        (0..3).for_each(|at| cluster.expire(at));
        meet(&mut cluster, run.road);
        cluster.rest();
        self.read(&cluster, acted)
    }

    /// All regions come to know the start.
    fn spread(&self, cluster: &mut Cluster, run: Run) {
        cluster.exchange();
        if run.settled {
            cluster.settle((SETTLING / 1100) as usize);
        } else {
            cluster.pass(SETTLING);
        }
        cluster.pass(PAUSE);
        let cells: Vec<usize> = (0..3).map(|at| cluster.cells(at)).collect();
        assert_eq!(run.settled, cells == [0, 0, 0], "{cells:?}");
    }

    /// What all regions show.
    fn read(&self, cluster: &Cluster, acted: u64) -> Result<Cells, String> {
        let mut cells = Cells::new();
        for (row, column) in self.pairs() {
            let shown = |at: usize| shows(&cluster.nodes[at].store, &name(row, column));
            if shown(EU) != shown(US) || shown(EU) != shown(AP) {
                let says = [shown(EU), shown(US), shown(AP)];
                return Err(format!("{}: the regions differ: {says:?}", self.says((row, column))));
            }
            let parts: Vec<String> = shown(EU).into_iter().map(|shown| shown.say(acted)).collect();
            let text = if parts.is_empty() {
                "gone".to_owned()
            } else {
                parts.join("; ")
            };
            cells.insert((row, column), text);
        }
        Ok(cells)
    }

    fn says(&self, (row, column): (usize, usize)) -> String {
        format!("eu: {}, us: {}", self.acts[row].says[EU], self.acts[column].says[US])
    }

    /// The table, and what was found wrong with it.
    fn make(&self) -> (String, Vec<String>) {
        let mut wrong = Vec::new();
        let mut found: [Option<Cells>; 2] = [None, None];
        for run in runs() {
            match self.run(run) {
                Err(text) => wrong.push(format!("{}, {run:?}: {text}", self.name)),
                Ok(cells) => match &found[run.ahead] {
                    None => found[run.ahead] = Some(cells),
                    Some(first) => {
                        let differ = first.iter().filter(|(pair, text)| cells[*pair] != **text);
                        wrong.extend(differ.map(|(pair, text)| {
                            format!(
                                "{}, {run:?}: {}: {} instead of {text}",
                                self.name,
                                self.says(*pair),
                                cells[pair]
                            )
                        }));
                    }
                },
            }
        }
        let [eu, us] = found.map(Option::unwrap_or_default);
        let mut text = format!("| eu ↓, us → | {} |\n", self.heads(US).join(" | "));
        text += &format!("|{}\n", "---|".repeat(self.acts.len() + 1));
        for (row, head) in self.heads(EU).iter().enumerate() {
            text += &format!("| **{head}** |");
            for column in 0..self.acts.len() {
                let pair = (row, column);
                let sides = [&eu, &us].map(|cells| cells.get(&pair).map_or("", String::as_str));
                let contend = self.acts[row].claim.contends(self.acts[column].claim);
                if contend != (sides[0] != sides[1]) {
                    wrong.push(format!(
                        "{}: {}: the clock decides: {sides:?}",
                        self.name,
                        self.says(pair)
                    ));
                }
                text += &match sides {
                    [same, other] if same == other => format!(" {same} |"),
                    [eu, us] => format!(" {eu} *or* {us} |"),
                };
            }
            text += "\n";
        }
        (text, wrong)
    }

    fn heads(&self, at: usize) -> Vec<&'static str> {
        self.acts.iter().map(|act| act.says[at]).collect()
    }
}

/// In ms: until a start has settled, then until the acts, then until keys expire.
const SETTLING: u64 = 3300;
const PAUSE: u64 = 900;
const EXPIRES: u64 = 700;

fn client(cluster: &mut Cluster, at: usize, (row, column): (usize, usize), does: impl FnOnce(&mut Client<'_>)) {
    let (name, now) = (name(row, column), cluster.wall(at));
    cluster.act(at, |engine, store| {
        let name = &name;
        does(&mut Client {
            engine,
            store,
            name,
            now,
        });
    });
}

const PAIRS: [(usize, usize); 3] = [(EU, US), (EU, AP), (US, AP)];

/// From now on nobody hears of anybody.
fn part(cluster: &mut Cluster, road: Road) {
    for (a, b) in PAIRS {
        if road == Road::Transfer {
            cluster.cut(a, b);
        } else {
            cluster.hold(a, b);
            cluster.hold(b, a);
        }
    }
}

fn meet(cluster: &mut Cluster, road: Road) {
    let order = match road {
        Road::Transfer => return cluster.connect_all(),
        Road::EuFirst => [EU, US, AP],
        Road::UsFirst => [US, EU, AP],
    };
    for from in order {
        (0..3).filter(|to| *to != from).for_each(|to| cluster.release(from, to));
        cluster.exchange();
    }
}

#[derive(PartialEq, Debug)]
struct Shown {
    /// Under the name that `RENAME` gave.
    renamed: bool,
    value: String,
    deadline: Option<u64>,
}

impl Shown {
    /// With the time to live that the key had when the acts were done.
    fn say(&self, acted: u64) -> String {
        let place = if self.renamed { "other: " } else { "" };
        let ttl = self.deadline.map_or(String::new(), |at| {
            format!(", TTL {}", (at.saturating_sub(acted) + 500) / 1000)
        });
        format!("{place}{}{ttl}", self.value)
    }
}

/// What a pair's keys show.
fn shows(store: &MemoryStore, name: &str) -> Vec<Shown> {
    let mut store = store.clone();
    let mut all = Vec::new();
    for (renamed, name) in [(false, name.to_owned()), (true, renamed(name))] {
        let name = key(&name);
        let mut elements = Vec::new();
        store.elements(name, &mut |element, value| elements.push(says(element, value)));
        if !elements.is_empty() {
            let value = format!("`{}`", elements.join(" "));
            let deadline = store.deadline(name);
            all.push(Shown {
                renamed,
                value,
                deadline,
            });
        }
    }
    all
}

fn says(element: Element<'_>, value: Value<'_>) -> String {
    let text = |bytes: &[u8]| counted(bytes).unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
    let name = text(element.name);
    match value.to_owned() {
        OwnedValue::Bytes(bytes) if element.kind == Kind::String => text(&bytes),
        OwnedValue::Bytes(bytes) => format!("{name}={}", text(&bytes)),
        OwnedValue::Score(score) => format!("{name}:{}", score.get()),
        OwnedValue::Member | OwnedValue::Deadline(_) => name,
    }
}

fn tables(sketch: &'static [u8]) -> Vec<Table> {
    let table = |name, start, acts, expires| Table {
        name,
        start,
        acts,
        expires,
    };
    vec![
        table("strings", vec![(Element::STRING, Value::Bytes(b"10"))], STRINGS, true),
        table(
            "hashes",
            vec![(F, Value::Bytes(b"10")), (Element::field(b"g"), Value::Bytes(b"1"))],
            HASHES,
            false,
        ),
        table(
            "sets",
            vec![
                (Element::member(b"m"), Value::Member),
                (Element::member(b"n"), Value::Member),
            ],
            SETS,
            false,
        ),
        table(
            "zsets",
            vec![(M, score(10.0)), (Element::scored(b"n"), score(1.0))],
            ZSETS,
            false,
        ),
        table(
            "sketches",
            vec![(Element::STRING, Value::Bytes(sketch))],
            SKETCHES,
            false,
        ),
    ]
}

/// The page with the table between its marks in place of what is there.
fn with_table(page: &str, name: &str, table: &str) -> String {
    let mark = format!("<!-- table: {name} -->\n");
    let (before, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("no {mark} in {FILE}"));
    let (_, after) = rest.split_once("<!-- end -->").expect("the end of the table");
    format!("{before}{mark}{table}<!-- end -->{after}")
}

#[test]
fn tables_of_concurrent_writes_are_true() {
    let page = std::fs::read_to_string(FILE).expect("the page of the tables");
    let (mut expected, mut wrong) = (page.clone(), Vec::new());
    for table in tables(sketch().leak()) {
        let (text, found) = table.make();
        expected = with_table(&expected, table.name, &text);
        wrong.extend(found);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if std::env::var_os("GEO_BLESS").is_some() {
        std::fs::write(FILE, &expected).expect("the page is writable");
        return;
    }
    assert!(
        expected == page,
        "docs/semantics.md differs: GEO_BLESS=1 cargo test --no-default-features --features sim --test directed tables"
    );
}
