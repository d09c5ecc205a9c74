//! Dialing: one task per configured peer.

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

/// One address of a peer, from the first datagram to its open streams.
const ATTEMPT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Up to as much again is added at random.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps dialing the peer while no link to its region is established. Never ends.
pub(super) async fn keep_dialing<N: Network>(node: Arc<Node<N>>, peer: PeerAddress, number: usize) {
    let mut pauses = ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times();
    if let Some(seed) = node.network.seed() {
        pauses = pauses.with_jitter_seed(seed ^ number as u64);
    }
    let mut pause = pauses.build();
    loop {
        node.until_established(&peer.name, false).await;
        let attempt = tokio::select! {
            biased;
            () = node.until_established(&peer.name, true) => continue,
            attempt = dial(&node, &peer) => attempt,
        };
        match attempt {
            Ok((connection, streams)) => {
                // Its own task: a panic in it is the link's, not the dialer's.
                let mut link = JoinSet::new();
                let (node, name) = (node.clone(), peer.name.clone());
                link.spawn(async move { node.carry(connection, streams, Some(name)).await });
                if link.join_next().await.is_some_and(|end| end.unwrap_or(false)) {
                    pause = pauses.build();
                }
            }
            Err(reason) => node.events.push(Event::DialFailed {
                peer: peer.name.clone(),
                reason,
            }),
        }
        sleep(pause.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

async fn dial<N: Network>(node: &Node<N>, peer: &PeerAddress) -> Result<(Connection, Streams), String> {
    let place = format!("{}:{}", peer.host, peer.port);
    let addresses = match timeout(ATTEMPT, node.network.resolve(&peer.host, peer.port)).await {
        Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
        Ok(Ok(_)) => return Err(format!("{place}: the name has no address")),
        Ok(Err(error)) => return Err(format!("{place}: {error}")),
        Err(_) => return Err(format!("{place}: the name server does not answer")),
    };
    let mut reason = String::new();
    for address in addresses {
        match timeout(ATTEMPT, connect(node, peer, address)).await {
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
