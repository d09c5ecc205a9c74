//! `geoctl status`: all regions side by side.

use std::net::ToSocketAddrs;
use std::time::Duration;

use redis_geo::lab::server::connect;
use redis_geo::lab::status::{Field, Fields};

use crate::{Result, table};

const PATIENCE: Duration = Duration::from_secs(5);

/// Show the status of several regions side by side, and the links between them.
#[derive(clap::Args)]
pub struct Arguments {
    /// Client address of a region's server.
    #[arg(value_name = "HOST:PORT", required = true)]
    servers: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut reached = Vec::new();
    let mut failed = 0;
    for server in &arguments.servers {
        match status(server) {
            Ok(fields) => reached.push(fields),
            Err(error) => {
                eprintln!("{server}: {error}");
                failed += 1;
            }
        }
    }
    if !reached.is_empty() {
        print!("{}", text(&reached));
    }
    match failed {
        0 => Ok(()),
        count => Err(format!("{count} of {} servers gave no status", arguments.servers.len()).into()),
    }
}

fn status(server: &str) -> Result<Fields> {
    let address = server.to_socket_addrs()?.next().ok_or("the name has no address")?;
    let mut connection = connect(address, PATIENCE)?;
    Fields::of(&mut connection).map_err(|error| match error.detail() {
        Some(detail) if detail.contains("unknown command") => "the redis-geo module is not loaded".into(),
        _ => error.into(),
    })
}

/// The regions as columns, then the links, then why links are down.
pub fn text(regions: &[Fields]) -> String {
    let mut lines = table::lines(&facts(regions));
    lines.push(String::new());
    lines.extend(table::lines(&matrix(regions)));
    let reasons = reasons(regions);
    if !reasons.is_empty() {
        lines.push(String::new());
        lines.extend(reasons);
    }
    lines.join("\n") + "\n"
}

/// Every plain field, one row each; fields of an inner map are named `outer.inner`.
fn facts(regions: &[Fields]) -> Vec<Vec<String>> {
    let columns: Vec<Vec<(String, String)>> = regions.iter().map(|fields| flat("", fields)).collect();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let value = |column: &Vec<(String, String)>, name: &String| {
        column
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let row = |name: &String| {
        std::iter::once(name.clone())
            .chain(columns.iter().map(|column| value(column, name)))
            .collect()
    };
    names.into_iter().map(row).collect()
}

fn flat(prefix: &str, fields: &Fields) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (name, field) in fields.0.iter().filter(|(name, _)| name != "peers") {
        match field {
            Field::Text(text) => rows.push((format!("{prefix}{name}"), text.clone())),
            Field::Fields(inner) => rows.extend(flat(&format!("{prefix}{name}."), inner)),
            Field::List(_) => {}
        }
    }
    rows
}

/// Who sees whom: a row per region, a column per peer.
fn matrix(regions: &[Fields]) -> Vec<Vec<String>> {
    let mut names: Vec<String> = regions.iter().map(|fields| fields.text("region").to_string()).collect();
    for (peer, _) in regions.iter().flat_map(Fields::peers) {
        if !names.contains(&peer) {
            names.push(peer);
        }
    }
    let heading = std::iter::once("link".to_string())
        .chain(names.iter().map(|name| format!("to {name}")))
        .collect();
    let row = |fields: &Fields| {
        let own = fields.text("region");
        let cells = names.iter().map(|name| match fields.peer(name) {
            _ if name == own => "-".to_string(),
            Some(peer) => link(&peer),
            None => "unknown".to_string(),
        });
        std::iter::once(format!("from {own}")).chain(cells).collect()
    };
    std::iter::once(heading).chain(regions.iter().map(row)).collect()
}

/// One link in a few words, as "up, 12 ms behind, 3 unsettled, rtt 80.1 ms".
pub fn link(peer: &Fields) -> String {
    let mut words = vec![peer.text("state").to_string()];
    if let Some(lag) = peer.number("lag_ms").filter(|lag| *lag > 0) {
        words.push(format!("{lag} ms behind"));
    }
    if let Some(unsettled) = peer.number("unsettled_operations").filter(|count| *count > 0) {
        words.push(format!("{unsettled} unsettled"));
    }
    if let Some(rtt) = peer.number("rtt_us").filter(|rtt| *rtt > 0) {
        words.push(format!("rtt {:.1} ms", rtt as f64 / 1000.0));
    }
    words.join(", ")
}

/// Whether a link is up with nothing left to settle. A link has no figures, as its round trip, in its first second.
pub fn at_rest(peer: &Fields) -> bool {
    peer.text("state") == "up"
        && peer.number("lag_ms") == Some(0)
        && peer.number("unsettled_operations") == Some(0)
        && peer.number("rtt_us").is_some_and(|rtt| rtt > 0)
}

fn reasons(regions: &[Fields]) -> Vec<String> {
    let reasons = |fields: &Fields| {
        let own = fields.text("region").to_string();
        let down = fields
            .peers()
            .into_iter()
            .filter(|(_, peer)| peer.text("state") != "up");
        let down = down.filter(|(_, peer)| !peer.text("reason").is_empty());
        down.map(|(name, peer)| format!("{own} -> {name}: {}", peer.text("reason")))
            .collect::<Vec<_>>()
    };
    regions.iter().flat_map(reasons).collect()
}
