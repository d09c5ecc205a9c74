//! `geoctl demo`: three regions on this machine, a partition, and how they agree again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use redis::Connection;
use redis_geo::lab::regions::{Regions, Topology};
use redis_geo::lab::status::Fields;

use crate::screen::{Colour, Screen};
use crate::{Result, interrupt, status, table};

const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// The region that the partition cuts off.
const ALONE: &str = "ap";
const KEYS: [&str; 3] = ["city", "visits", "tags"];
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two chapters, for people who watch.
const PAUSE: Duration = Duration::from_millis(1800);
/// Between two frames.
const REDRAW: Duration = Duration::from_millis(100);

/// Run three regions on this machine, cut one off, write on both sides, heal, and watch them agree.
///
/// Uses its own redis-server processes on free loopback ports and a temporary directory; leaves nothing behind.
#[derive(clap::Args)]
pub struct Arguments {
    /// The module; by default the one beside this command.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Plain lines even in a terminal.
    #[arg(long)]
    plain: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let module = module(arguments)?;
    interrupt::catch();
    let mut screen = Screen::new(arguments.plain)?;
    screen.say("Starting three Redis servers with redis-geo: eu, us and ap")?;
    let regions = Regions::start(&module, &REGIONS, Topology::Mesh, 1)?;
    let connections = REGIONS
        .iter()
        .map(|name| Ok((*name, regions.connect(name)?)))
        .collect::<Result<_>>()?;
    Demo {
        regions,
        connections,
        screen,
    }
    .play()
}

fn module(arguments: &Arguments) -> Result<PathBuf> {
    const NAME: &str = "libredis_geo.so";
    let module = match &arguments.module {
        Some(module) => std::path::absolute(module)?,
        None => std::env::current_exe()?.with_file_name(NAME),
    };
    match module.is_file() {
        true => Ok(module),
        false => Err(format!(
            "{} does not exist: build it, or give its place with --module",
            module.display()
        )
        .into()),
    }
}

/// What plain reads show in one region.
type View = BTreeMap<&'static str, String>;

struct Demo {
    regions: Regions,
    connections: BTreeMap<&'static str, Connection>,
    screen: Screen,
}

impl Demo {
    fn play(mut self) -> Result<()> {
        self.await_links()?;
        self.write_everywhere()?;
        self.cut()?;
        self.heal()?;
        self.report()
    }

    fn write_everywhere(&mut self) -> Result<()> {
        self.screen.chapter("Writes in every region")?;
        self.write("eu", "SET city Paris")?;
        self.write("eu", "INCR visits")?;
        let first = view(&[("city", "Paris"), ("visits", "1"), ("tags", "")]);
        self.until("us to show what eu wrote", |demo| Ok(demo.read("us")? == first))?;
        self.write("us", "INCRBY visits 2")?;
        self.write("us", "SADD tags tea")?;
        self.write("ap", "SADD tags rice")?;
        let expected = view(&[("city", "Paris"), ("visits", "3"), ("tags", "rice tea")]);
        self.until("every region to show all writes", |demo| demo.all_show(&expected))?;
        self.table("Plain GET and SMEMBERS give the same everywhere:")
    }

    fn cut(&mut self) -> Result<()> {
        self.screen.chapter("ap is cut off; both sides go on writing")?;
        self.regions.isolate(ALONE);
        self.write("eu", "SET city Lyon")?;
        self.write("ap", "SET city Osaka")?;
        self.write("us", "INCRBY visits 10")?;
        self.write("ap", "INCRBY visits 100")?;
        self.write("eu", "SREM tags tea")?;
        self.write("ap", "SADD tags tea")?;
        let here = view(&[("city", "Lyon"), ("visits", "13"), ("tags", "rice")]);
        let alone = view(&[("city", "Osaka"), ("visits", "103"), ("tags", "rice tea")]);
        self.until("eu and us to agree without ap", |demo| {
            Ok(demo.read("eu")? == here && demo.read("us")? == here && demo.read(ALONE)? == alone)
        })?;
        self.table("eu and us agree, ap differs:")
    }

    fn heal(&mut self) -> Result<()> {
        self.screen.chapter("The links heal")?;
        self.regions.heal();
        let healed = Instant::now();
        // Of two concurrent SETs the later one wins; the clocks of one machine make that ap's.
        let expected = view(&[("city", "Osaka"), ("visits", "113"), ("tags", "rice tea")]);
        self.until("the regions to agree again", |demo| demo.all_show(&expected))?;
        let seconds = healed.elapsed().as_secs_f64();
        self.screen
            .say(&format!("All three agree after {seconds:.1} s: the later SET won,"))?;
        self.screen
            .say("every increment counts once, and the concurrent SADD survived the SREM.")?;
        self.table("Plain GET and SMEMBERS give the same everywhere:")
    }

    fn report(&mut self) -> Result<()> {
        self.until("the peers to have settled every write", |demo| {
            let at_rest = |(from, to): (&str, &str)| demo.peer(from, to).is_ok_and(|peer| status::at_rest(&peer));
            Ok(pairs().all(at_rest))
        })?;
        self.screen.chapter("GEO.STATUS of the links")?;
        for link in self.links() {
            self.screen.say(&link)?;
        }
        Ok(())
    }

    fn await_links(&mut self) -> Result<()> {
        self.until("all links to be up", |demo| {
            let up = |(from, to): (&str, &str)| demo.peer(from, to).is_ok_and(|peer| peer.text("state") == "up");
            Ok(pairs().all(up))
        })
    }

    /// A line for each direction of each link, with the reason when it is down.
    fn links(&self) -> Vec<String> {
        let link = |(from, to): (&str, &str)| match self.peer(from, to) {
            Ok(peer) => format!("  {from} -> {to}: {} {}", status::link(&peer), peer.text("reason"))
                .trim_end()
                .into(),
            Err(error) => format!("  {from} -> {to}: {error}"),
        };
        pairs().map(link).collect()
    }

    /// What a region says of another.
    fn peer(&self, from: &str, to: &str) -> Result<Fields> {
        self.regions
            .status(from)?
            .peer(to)
            .ok_or_else(|| format!("{from} does not know {to}").into())
    }

    /// Runs a command in a region and shows it with its reply.
    fn write(&mut self, region: &'static str, command: &str) -> Result<()> {
        let mut words = command.split(' ');
        let mut request = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            request.arg(word);
        });
        let reply: redis::Value = request.query(self.connection(region)?)?;
        let reply = match reply {
            redis::Value::Int(number) => format!("(integer) {number}"),
            redis::Value::Okay => "OK".into(),
            other => format!("{other:?}"),
        };
        let line = format!("  {region}> {command:<24} {reply}");
        self.screen.say(&line)?;
        self.show(false)
    }

    fn connection(&mut self, region: &str) -> Result<&mut Connection> {
        self.connections
            .get_mut(region)
            .ok_or_else(|| format!("no region {region}").into())
    }

    fn read(&mut self, region: &str) -> Result<View> {
        let connection = self.connection(region)?;
        let get = |key: &str, connection: &mut Connection| -> Result<String> {
            Ok(redis::cmd("GET")
                .arg(key)
                .query::<Option<String>>(connection)?
                .unwrap_or_default())
        };
        let (city, visits) = (get("city", connection)?, get("visits", connection)?);
        let mut tags: Vec<String> = redis::cmd("SMEMBERS").arg("tags").query(connection)?;
        tags.sort();
        Ok(view(&[("city", &city), ("visits", &visits), ("tags", &tags.join(" "))]))
    }

    fn all_show(&mut self, expected: &View) -> Result<bool> {
        for region in REGIONS {
            if self.read(region)? != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits for a condition; the panel stays current meanwhile.
    fn until(&mut self, what: &str, condition: impl Fn(&mut Demo) -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !condition(self)? {
            if start.elapsed() > PATIENCE {
                self.show(true)?;
                let links = self.links().join("\n");
                return Err(format!("waited {} s in vain for {what}\n{links}", PATIENCE.as_secs()).into());
            }
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<()> {
        if interrupt::caught() {
            return Err("interrupted".into());
        }
        self.show(false)?;
        thread::sleep(REDRAW);
        Ok(())
    }

    /// The values of all regions as they are now, under a line that says what to see in them.
    fn table(&mut self, caption: &str) -> Result<()> {
        self.screen.say(caption)?;
        self.show(true)?;
        let start = Instant::now();
        while self.screen.is_live() && start.elapsed() < PAUSE {
            self.tick()?;
        }
        Ok(())
    }

    fn show(&mut self, lasting: bool) -> Result<()> {
        let mut rows = vec![vec![String::new()]];
        rows[0].extend(REGIONS.map(|region| self.screen.paint(region, Colour::Bold)));
        let views = REGIONS
            .iter()
            .map(|region| self.read(region))
            .collect::<Result<Vec<_>>>()?;
        for key in KEYS {
            let shown: Vec<String> = views.iter().map(|view| view[key].clone()).collect();
            let same = shown.iter().all(|value| *value == shown[0]);
            let verdict = match same {
                true => self.screen.paint("same", Colour::Green),
                false => self.screen.paint("differs", Colour::Yellow),
            };
            rows.push(std::iter::once(key.to_string()).chain(shown).chain([verdict]).collect());
        }
        let mut panel = table::lines(&rows);
        if self.screen.is_live() {
            panel.push(String::new());
            panel.extend(self.regions.links().map(|(a, b, link)| match link.is_cut() {
                true => self.screen.paint(&format!("{a} --x-- {b}"), Colour::Red),
                false => self.screen.paint(&format!("{a} ----- {b}"), Colour::Green),
            }));
        }
        Ok(self.screen.show(panel, lasting)?)
    }
}

/// Every ordered pair of regions.
fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    REGIONS.into_iter().flat_map(|from| {
        REGIONS
            .into_iter()
            .filter(move |to| *to != from)
            .map(move |to| (from, to))
    })
}

fn view(values: &[(&'static str, &str)]) -> View {
    values.iter().map(|(key, value)| (*key, value.to_string())).collect()
}
