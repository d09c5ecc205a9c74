//! Files that the first version wrote, an RDB and an append-only file: every later version must load them.
//! `GEO_BLESS=1` writes them anew, which is right only before the first release.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::plain::Server;
use crate::state::{confirmed, lonely, ok, state, write};

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Files of a server, below its directory, and what it held.
struct Golden {
    name: &'static str,
    arguments: &'static [&'static str],
    files: &'static [&'static str],
}

const GOLDEN: [Golden; 2] = [
    Golden {
        name: "rdb",
        arguments: &[],
        files: &["dump.rdb"],
    },
    Golden {
        name: "aof",
        arguments: &AOF,
        files: &[
            "appendonlydir/appendonly.aof.manifest",
            "appendonlydir/appendonly.aof.1.base.rdb",
            "appendonlydir/appendonly.aof.1.incr.aof",
        ],
    },
];

impl Golden {
    fn place(&self, file: &str) -> PathBuf {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/persistence/golden");
        PathBuf::from(directory).join(self.name).join(file)
    }

    fn bless(&self) {
        let server = lonely(self.arguments);
        let mut client = server.client();
        write(&mut client);
        match self.name {
            "rdb" => drop(ok(&mut client, "SAVE")),
            _ => confirmed(&server),
        }
        for file in self.files {
            let place = self.place(file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(server.path(file), place).unwrap();
        }
        fs::write(self.place("holds.txt"), text(&state(&mut client))).unwrap();
    }

    /// What a server shows that starts with the files.
    fn loaded(&self) -> String {
        let server = Server::start(self.arguments, &crate::state::LONELY);
        let mut copy = Vec::new();
        for file in self.files {
            copy.push((server.path(file), fs::read(self.place(file)).unwrap()));
        }
        // Files of its own would be read as well.
        let _ = fs::remove_dir_all(server.path("appendonlydir"));
        for (path, bytes) in copy {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        text(&state(&mut server.restart().client()))
    }
}

/// One key a line. How many bytes its metadata take is not part of what must stay.
fn text(state: &BTreeMap<String, String>) -> String {
    let line = |(name, held): (&String, &String)| {
        let held = match held.split_once("bytes\\r\\n:") {
            Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
            None => held.clone(),
        };
        format!("{name} {held}\n")
    };
    state.iter().map(line).collect()
}

#[test]
fn files_of_the_first_version_load() {
    for golden in &GOLDEN {
        if std::env::var_os("GEO_BLESS").is_some() {
            golden.bless();
        }
        let holds = fs::read_to_string(golden.place("holds.txt")).expect("the golden files");
        assert!(holds.contains("0/set "), "{holds}");
        assert_eq!(golden.loaded(), holds, "{}", golden.name);
    }
}
