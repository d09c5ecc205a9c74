//! Dialing: one task per configured peer, whose servers may be at several places (the primary of a region moves).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use quinn::Connection;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::end::Fault;
use super::event::Event;
use super::link::{Streams, open};
use super::network::Network;
use super::node::Node;
use super::quic;
use super::settings::PeerAddress;

/// From the first datagram to open streams; shared by the places of a peer and by the addresses of a name, so that a
/// dead one costs less.
const ATTEMPT: Duration = Duration::from_secs(5);
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(1500);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Up to as much again is added at random.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps dialing the peer while no link to its region is established: its places in turn, beginning with the last one
/// that was good. Pauses when each has failed. Never ends.
pub(super) async fn keep_dialing<N: Network>(node: Arc<Node<N>>, places: Vec<PeerAddress>, number: usize) {
    let Some(name) = places.first().map(|place| place.name.clone()) else {
        return;
    };
    let limit = (ATTEMPT / places.len() as u32).max(SHORTEST_ATTEMPT);
    let mut pauses = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times();
    if let Some(seed) = node.network.seed() {
        pauses = pauses.with_jitter_seed(seed ^ number as u64);
    }
    let mut pause = pauses.build();
    let (mut at, mut failures) = (0, 0);
    loop {
        node.until_established(&name, false).await;
        let attempt = tokio::select! {
            biased;
            () = node.until_established(&name, true) => continue,
            attempt = dial(&node, &places[at], limit) => attempt,
        };
        let good = match attempt {
            Ok((connection, streams)) => {
                // Its own task: a panic in it is the link's, not the dialer's.
                let mut link = JoinSet::new();
                let (node, name) = (node.clone(), name.clone());
                link.spawn(async move { node.carry(connection, streams, Some(name)).await });
                link.join_next().await.is_some_and(|end| end.unwrap_or(false))
            }
            Err(reason) => {
                node.events.push(Event::DialFailed {
                    peer: name.clone(),
                    reason,
                });
                false
            }
        };
        if good {
            (pause, failures) = (pauses.build(), 0);
        } else {
            (at, failures) = ((at + 1) % places.len(), failures + 1);
        }
        if failures % places.len() == 0 {
            sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }
}

async fn dial<N: Network>(
    node: &Node<N>,
    peer: &PeerAddress,
    limit: Duration,
) -> Result<(Connection, Streams), String> {
    let place = format!("{}:{}", peer.host, peer.port);
    let addresses = match timeout(limit, node.network.resolve(&peer.host, peer.port)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        Ok(Ok(_)) => return Err(format!("{place}: the name has no address")),
        Ok(Err(error)) => return Err(format!("{place}: {error}")),
        Err(_) => return Err(format!("{place}: the name server does not answer")),
    };
    let mut reason = String::new();
    let each = (limit / addresses.len() as u32).max(SHORTEST_ATTEMPT);
    for address in addresses {
        match timeout(each, connect(node, peer, address)).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(text)) => reason = format!("{address}: {text}"),
            Err(_) => reason = format!("{address}: no answer"),
        }
    }
    Err(reason)
}

async fn connect<N: Network>(
    node: &Node<N>,
    peer: &PeerAddress,
    address: SocketAddr,
) -> Result<(Connection, Streams), String> {
    let endpoint = node.endpoint_for(address).map_err(|e| e.to_string())?;
    let config = quic::client(&node.tls.load(), &node.settings);
    // The server's certificate must name the peer's region.
    let connecting = endpoint
        .connect_with(config, address, &peer.name)
        .map_err(|e| e.to_string())?;
    let connection = connecting.await.map_err(|e| Fault::from(e).to_string())?;
    match open(&connection, &node.settings).await {
        Ok(streams) => Ok((connection, streams)),
        Err(fault) => {
            connection.close(0u32.into(), fault.to_string().as_bytes());
            Err(fault.to_string())
        }
    }
}
