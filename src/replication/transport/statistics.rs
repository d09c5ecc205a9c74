//! Figures of each link, and the watch over them.

use std::collections::HashMap;
use std::sync::Arc;

use super::lock;
use super::network::Network;
use super::node::Node;
use super::{Level, link::Link};

/// What the links have done, at most a second old.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LinkStatistics {
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u64,
    /// UDP payload, both ways, all overhead included.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    /// Packets declared lost; their data was sent again.
    pub lost_packets: u64,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes per second the peer has read, by its own reports.
    pub goodput: u64,
    /// Bytes of frames no stream has taken yet.
    pub queued: usize,
}

/// Once a second: figures, the send window, and links that have become slow.
pub(super) fn observe<N: Network>(node: &Node<N>) {
    let mut all = HashMap::new();
    for (id, (link, meter)) in lock(&node.links).iter_mut() {
        if meter.observe(link.queue.bytes() > 0, link.peer_waiting(), link.delivered()) {
            let (now, best) = (meter.rate, meter.best);
            node.events.push(super::Event::Log {
                level: Level::Warning,
                text: format!(
                    "link {}: {now} B/s after {best} B/s with frames waiting: connecting again",
                    id.0
                ),
            });
            link.close("stalled: far slower than it was, with frames waiting", true);
        }
        let path = link.connection.stats().path;
        link.connection
            .set_send_window(node.settings.send_window(Some(path.min_rtt)));
        all.insert(*id, figures(link, meter));
    }
    node.statistics.store(Arc::new(all));
}

fn figures(link: &Link, meter: &Meter) -> LinkStatistics {
    let stats = link.connection.stats();
    LinkStatistics {
        rtt_us: u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX),
        bytes_in: stats.udp_rx.bytes,
        bytes_out: stats.udp_tx.bytes,
        datagrams_in: stats.udp_rx.datagrams,
        datagrams_out: stats.udp_tx.datagrams,
        lost_packets: stats.path.lost_packets,
        cwnd: stats.path.cwnd,
        goodput: meter.rate,
        queued: link.queue.bytes(),
    }
}

/// Seconds a link may be slow before it is opened again.
const PATIENCE: u32 = 10;
/// Below this a best rate says nothing, bytes per second.
const MEANINGFUL: u64 = 256 << 10;
/// Slow is less than this part of the best rate.
const SLOW: u64 = 20;

/// How fast a link delivers. One BBR connection in 16 was measured to stay slow for ever after a loss; a new
/// one is fast again.
#[derive(Default)]
pub(super) struct Meter {
    delivered: u64,
    /// Bytes in the last second.
    pub rate: u64,
    /// Best rate of late; it fades by a hundredth each second.
    pub best: u64,
    slow: u32,
}

impl Meter {
    /// Once a second. True when the link should be opened again: frames wait, the peer is not the one who
    /// is behind, and little arrives.
    fn observe(&mut self, backlog: bool, peer_waiting: bool, delivered: u64) -> bool {
        self.rate = delivered.saturating_sub(self.delivered);
        self.delivered = delivered;
        self.best = self.rate.max(self.best - self.best / 100);
        let slow = backlog && !peer_waiting && self.best >= MEANINGFUL && self.rate < self.best / SLOW;
        self.slow = if slow { self.slow + 1 } else { 0 };
        self.slow >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds until the watch acts on a link that did `before` bytes a second and then does `after`.
    fn seconds(before: u64, after: u64, backlog: bool, waiting: bool) -> Option<u32> {
        let mut meter = Meter::default();
        let mut total = 0;
        for _ in 0..30 {
            total += before;
            assert!(!meter.observe(true, false, total));
        }
        (1..=60).find(|_| {
            total += after;
            meter.observe(backlog, waiting, total)
        })
    }

    #[test]
    fn only_a_backlog_that_does_not_move_counts() {
        assert_eq!(seconds(10 << 20, 1000, true, false), Some(PATIENCE));
        assert_eq!(seconds(10 << 20, 0, true, false), Some(PATIENCE));
        assert_eq!(seconds(10 << 20, 1000, false, false), None);
        assert_eq!(seconds(10 << 20, 1000, true, true), None);
        assert_eq!(seconds(10 << 20, 1 << 20, true, false), None);
        assert_eq!(seconds(1000, 0, true, false), None);
    }
}
