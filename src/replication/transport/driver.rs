//! The replication thread's work: commands in, tasks for everything else.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::accept::keep_accepting;
use super::compression::pack;
use super::dial::keep_dialing;
use super::event::Events;
use super::network::Network;
use super::node::Node;
use super::rotation::{self, Fingerprint};
use super::settings::Settings;
use super::tls::Tls;
use super::{Command, Level, LinkId, lock, quic, statistics};

/// Bytes queued for one link beyond one frame. The engine's windows stay far below; this is the wall.
const MAX_QUEUED: usize = 64 << 20;
/// How long the shutdown waits for the last datagrams to leave.
const LAST_DATAGRAMS: Duration = Duration::from_millis(100);

/// Everything the transport does, as one future: [`Driver::run`] inside a tokio runtime.
pub struct Driver<N: Network> {
    node: Arc<Node<N>>,
    commands: UnboundedReceiver<Command>,
    seen: Fingerprint,
}

impl<N: Network> Driver<N> {
    pub(super) fn new(
        settings: Settings,
        network: N,
        events: Events,
        tls: Tls,
        seen: Fingerprint,
        commands: UnboundedReceiver<Command>,
    ) -> Driver<N> {
        Driver {
            node: Arc::new(Node::new(settings, network, events, tls)),
            commands,
            seen,
        }
    }

    pub(super) fn node(&self) -> &Arc<Node<N>> {
        &self.node
    }

    /// Runs until [`Command::Shutdown`] or until the handle is gone. May be called again after a panic, in a
    /// new runtime.
    pub async fn run(&mut self) {
        let node = self.node.clone();
        let mut tasks = match self.start(&node) {
            Ok(tasks) => tasks,
            Err(error) => panic!("cannot listen: {error}"),
        };
        let mut second = interval(Duration::from_secs(1));
        let mut files = interval(rotation::POLL);
        for ticks in [&mut second, &mut files] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let deadline = loop {
            tokio::select! {
                biased;
                Some(end) = tasks.join_next() => {
                    if let Err(error) = end && error.is_panic() {
                        resume_unwind(error.into_panic());
                    }
                }
                _ = second.tick() => statistics::observe(&node),
                _ = files.tick() => rotation::follow(&node, &mut self.seen),
                // Last: a stream of commands must not starve the rest.
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { deadline }) => break deadline,
                    Some(command) => obey(&node, command),
                    None => break Duration::ZERO,
                },
            }
        };
        shut_down(&node, tasks, deadline).await;
    }

    fn start(&self, node: &Arc<Node<N>>) -> std::io::Result<JoinSet<()>> {
        let config = quic::endpoint(&node.tls.load(), &node.settings, node.network.seed());
        let endpoints = node
            .network
            .listen(config, quic::server(&node.tls.load(), &node.settings))?;
        let mut tasks = JoinSet::new();
        for endpoint in &endpoints {
            tasks.spawn(keep_accepting(node.clone(), endpoint.clone()));
        }
        for (number, places) in node.settings.places().into_iter().enumerate() {
            tasks.spawn(keep_dialing(node.clone(), places, number));
        }
        *lock(&node.endpoints) = endpoints;
        Ok(tasks)
    }
}

fn obey<N: Network>(node: &Node<N>, command: Command) {
    match command {
        Command::Send { links, frame } => send(node, &links, frame),
        Command::Close { link, reason } => {
            if let Some(link) = node.link(link) {
                link.close(&reason, false);
            }
        }
        Command::Established { link, region } => node.establish(link, region),
        Command::Shutdown { .. } => {}
    }
}

/// Compresses once, however many receivers.
fn send<N: Network>(node: &Node<N>, links: &[LinkId], frame: Arc<[u8]>) {
    let links: Vec<_> = links.iter().filter_map(|id| node.link(*id)).collect();
    if links.is_empty() {
        return;
    }
    let max = node.settings.max_frame;
    if frame.len() > max {
        let reason = format!("a frame of {} bytes to send, the limit is {max}", frame.len());
        node.events.log(Level::Warning, reason.as_str());
        links.iter().for_each(|link| link.close(&reason, true));
        return;
    }
    let packed = pack(frame, node.settings.compression);
    for link in links {
        if !link.queue.push(packed.clone(), MAX_QUEUED + max) {
            link.close(
                &format!("more than {} bytes queued for the peer", MAX_QUEUED + max),
                true,
            );
        }
    }
}

/// Says goodbye to everybody, at most until the deadline.
async fn shut_down<N: Network>(node: &Node<N>, tasks: JoinSet<()>, deadline: Duration) {
    let start = Instant::now();
    let open: BTreeSet<LinkId> = node.all_links().iter().map(|link| link.id).collect();
    for link in node.all_links() {
        link.close("the server shuts down", false);
    }
    // Links that come up meanwhile are cut when the tasks end.
    let gone = async {
        while lock(&node.links).keys().any(|id| open.contains(id)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(deadline, gone).await;
    drop(tasks);
    let endpoints = std::mem::take(&mut *lock(&node.endpoints));
    let rest = LAST_DATAGRAMS.max(deadline.saturating_sub(start.elapsed()));
    let _ = timeout(rest.min(LAST_DATAGRAMS), async {
        for endpoint in endpoints {
            endpoint.close(0u32.into(), b"the server shuts down");
            endpoint.wait_idle().await;
        }
    })
    .await;
}
