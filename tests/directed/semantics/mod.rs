//! What two regions end with when they do things to one key concurrently: the tables of `docs/semantics.md`.
//!
//! Each pair of acts runs with a start that has settled and one that has not, with either clock ahead, and over each
//! [`run::Road`]. All regions must end the same, and equal in all runs; only where [`acts::Claim::contends`] says so may it, and
//! must it, matter whose clock is ahead. `GEO_BLESS=1` writes the tables anew.

mod acts;
mod lists;
mod run;
pub mod sketch;

use redis_geo::crdt::{Element, Value};

use acts::Act;
use lists::{F, HASHES, M, ODD_SETS, ODD_STRINGS, SETS, SKETCHES, STRINGS, ZSETS, score};
use run::{Cells, EU, US, runs};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md");

struct Table {
    name: &'static str,
    start: Vec<(Element<'static>, Value<'static>)>,
    acts: &'static [Act],
    shape: Shape,
    /// Whether the key has a deadline.
    expires: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Shape {
    /// Every act of the one region with every act of the other.
    Square,
    /// Each act with itself.
    List,
}

impl Table {
    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.acts.len();
        match self.shape {
            Shape::Square => all
                .clone()
                .flat_map(|row| all.clone().map(move |column| (row, column)))
                .collect(),
            Shape::List => all.map(|at| (at, at)).collect(),
        }
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
        let mut decided = Cells::new();
        for pair in self.pairs() {
            let sides = [&eu, &us].map(|cells| cells.get(&pair).map_or("", String::as_str));
            let contend = self.acts[pair.0].claim.contends(self.acts[pair.1].claim);
            if contend != (sides[0] != sides[1]) {
                wrong.push(format!(
                    "{}: {}: the clock decides: {sides:?}",
                    self.name,
                    self.says(pair)
                ));
            }
            let text = match sides {
                [same, other] if same == other => same.to_owned(),
                [eu, us] => format!("{eu} *or* {us}"),
            };
            decided.insert(pair, text);
        }
        (self.print(&decided), wrong)
    }

    fn print(&self, cells: &Cells) -> String {
        let rows = self.heads(EU).into_iter().enumerate();
        match self.shape {
            Shape::Square => {
                let mut text = format!("| eu ↓, us → | {} |\n", self.heads(US).join(" | "));
                text += &format!("|{}\n", "---|".repeat(self.acts.len() + 1));
                for (row, head) in rows {
                    let cells: Vec<&str> = cells
                        .range((row, 0)..(row + 1, 0))
                        .map(|(_, text)| text.as_str())
                        .collect();
                    text += &format!("| **{head}** | {} |\n", cells.join(" | "));
                }
                text
            }
            Shape::List => {
                let line = |(row, eu): (usize, &str)| {
                    format!("| {eu} | {} | {} |\n", self.acts[row].says[US], cells[&(row, row)])
                };
                "| eu | us | both |\n|---|---|---|\n".to_owned() + &rows.map(line).collect::<String>()
            }
        }
    }

    fn heads(&self, at: usize) -> Vec<&'static str> {
        self.acts.iter().map(|act| act.says[at]).collect()
    }
}

fn tables(sketch: &'static [u8]) -> Vec<Table> {
    use Shape::{List, Square};
    let string = |value| vec![(Element::STRING, Value::Bytes(value))];
    let hash = vec![(F, Value::Bytes(b"10")), (Element::field(b"g"), Value::Bytes(b"1"))];
    let set = vec![
        (Element::member(b"m"), Value::Member),
        (Element::member(b"n"), Value::Member),
    ];
    let zset = vec![(M, score(10.0)), (Element::scored(b"n"), score(1.0))];
    let table = |name, start, acts, shape| Table {
        name,
        start,
        acts,
        shape,
        expires: name == "strings",
    };
    vec![
        table("strings", string(b"10"), STRINGS, Square),
        table("hashes", hash, HASHES, Square),
        table("sets", set.clone(), SETS, Square),
        table("sorted sets", zset, ZSETS, Square),
        table("HyperLogLogs", string(sketch), SKETCHES, Square),
        table("odd strings", string(b"10"), ODD_STRINGS, List),
        table("odd sets", set, ODD_SETS, List),
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
    for table in tables(sketch::of_s().leak()) {
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
