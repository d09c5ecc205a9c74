//! One server as clients and watchers know it: its address, and what it says of itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::{Connection, Pipeline, RedisResult, Value};
use redis_geo::lab::fleet::Fleet;
use redis_geo::lab::server::connect;

use crate::history::Life;

/// How long a client waits for any answer before it gives up on the server: the server may be frozen.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Place {
    pub name: String,
    pub address: SocketAddr,
}

impl Place {
    /// The servers of each region.
    pub fn all(fleet: &Fleet) -> Vec<Vec<Place>> {
        let mut places: Vec<Vec<Place>> = Vec::new();
        for ((region, node), one) in fleet.nodes() {
            places.resize_with(places.len().max(region + 1), Vec::new);
            places[region].push(Place {
                name: format!("{}-{node}", one.server.settings.region),
                address: one.server.address,
            });
        }
        places
    }

    pub fn connect(&self) -> RedisResult<Connection> {
        connect(self.address, PATIENCE)
    }

    /// Who answers there, and a connection to it when it is a primary.
    pub fn primary(&self) -> Option<(Connection, Identity)> {
        let mut connection = self.connect().ok()?;
        let (identity, _) = self.identify(&mut connection, redis::pipe()).ok()?;
        identity.primary.then_some((connection, identity))
    }

    /// Runs commands, and asks at the same moment who the server is. Gives the answers to the commands.
    pub fn identify(&self, connection: &mut Connection, commands: Pipeline) -> RedisResult<(Identity, Vec<Value>)> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        commands.cmd_iter().for_each(|command| {
            pipeline.add_command(command.clone());
        });
        pipeline.cmd("INFO").arg("server").cmd("INFO").arg("replication");
        let mut answers: Vec<Value> = pipeline.query(connection)?;
        let information = answers.split_off(answers.len().saturating_sub(2));
        let texts = information.into_iter().map(redis::from_redis_value::<String>);
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        Ok((self.read(&texts.concat()), answers))
    }

    fn read(&self, information: &str) -> Identity {
        let fields: BTreeMap<&str, &str> = information
            .lines()
            .filter_map(|line| line.trim().split_once(':'))
            .collect();
        let field = |name| fields.get(name).copied().unwrap_or_default().to_string();
        Identity {
            life: Arc::new(Life {
                node: self.name.clone(),
                process: field("run_id"),
                history: field("master_replid"),
            }),
            continues: field("master_replid2"),
            primary: field("role") == "master",
            follows: field("master_link_status") == "up",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Identity {
    pub life: Arc<Life>,
    pub continues: String,
    pub primary: bool,
    /// A replica in contact with its primary.
    pub follows: bool,
}

/// The value as text; empty when it is none.
pub fn text(value: &Value) -> String {
    redis::from_redis_value_ref(value).unwrap_or_default()
}
