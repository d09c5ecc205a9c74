//! Connections from outside, before and after their certificate is checked.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::event::Events;
use super::link::open;
use super::network::Network;
use super::node::{MAX_UNAUTHENTICATED, Node};
use super::{Level, lock};

/// From the first datagram to open streams.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// From this many unchecked connections on, a stranger must first show that its address is its own.
const SUSPICIOUS: usize = 8;
/// Links beyond this are refused: no deployment has so many regions.
const MAX_LINKS: usize = 256;

/// Takes what comes in on one endpoint. Ends with the endpoint.
pub(super) async fn keep_accepting<N: Network>(node: Arc<Node<N>>, endpoint: Endpoint) {
    let mut links = JoinSet::new();
    let mut complaints = Complaints::default();
    loop {
        tokio::select! {
            biased;
            Some(end) = links.join_next() => {
                if let Ok(Err(refusal)) = end {
                    complaints.log(&node.events, refusal);
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { return };
                if let Some((incoming, permit)) = admit(&node, incoming) {
                    links.spawn(welcome(node.clone(), incoming, permit));
                }
            }
        }
    }
}

/// Costs nothing worth mentioning: no certificate was looked at yet.
fn admit<N: Network>(node: &Node<N>, incoming: Incoming) -> Option<(Incoming, OwnedSemaphorePermit)> {
    let unchecked = MAX_UNAUTHENTICATED - node.unauthenticated.available_permits();
    if unchecked >= SUSPICIOUS && !incoming.remote_address_validated() && incoming.may_retry() {
        let _ = incoming.retry();
        return None;
    }
    let full = lock(&node.links).len() >= MAX_LINKS;
    match node.unauthenticated.clone().try_acquire_owned() {
        Ok(permit) if !full => Some((incoming, permit)),
        _ => {
            incoming.refuse();
            None
        }
    }
}

async fn welcome<N: Network>(
    node: Arc<Node<N>>,
    incoming: Incoming,
    permit: OwnedSemaphorePermit,
) -> Result<(), String> {
    let address = incoming.remote_address();
    let handshake = async {
        let connection = incoming.accept()?.await?;
        match open(&connection, &node.settings).await {
            Ok(streams) => Ok((connection, streams)),
            Err(fault) => {
                connection.close(0u32.into(), fault.to_string().as_bytes());
                Err(fault)
            }
        }
    };
    let (connection, streams) = match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(link)) => link,
        Ok(Err(fault)) if fault.is_change_of_mind() => return Ok(()),
        Ok(Err(fault)) => return Err(format!("refused a connection from {address}: {fault}")),
        Err(_) => {
            return Err(format!(
                "refused a connection from {address}: handshake not done in time"
            ));
        }
    };
    drop(permit);
    node.carry(connection, streams, None).await;
    Ok(())
}

/// Strangers must not fill our log: at most one line a second.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    silent: u64,
}

impl Complaints {
    fn log(&mut self, events: &Events, text: String) {
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            self.silent += 1;
            return;
        }
        self.last = Some(Instant::now());
        let more = match std::mem::take(&mut self.silent) {
            0 => String::new(),
            n => format!(" ({n} more before this one)"),
        };
        events.log(Level::Warning, text + &more);
    }
}
