//! The seam to the transport: what the engine puts out goes in here, what peers send comes out.

use super::api::Context;
use super::settings::Options;
use super::site;
use super::wake;
use crate::replication::transport::{self, Command, Event, Handle, Settings};
use crate::replication::{Engine, Input, LinkId, Output};

pub struct Network(Handle);

impl Network {
    /// Binds and reads certificates: wrong settings are errors here.
    pub fn start(options: &Options) -> Result<Network, String> {
        let settings = Settings {
            listen: options.listen.clone(),
            peers: options.peers.clone(),
            compression: options.compression,
            max_frame: options.limits.frame,
            inbound: options.limits.stream_window + options.limits.transfer_window,
            bandwidth: options.bandwidth,
            streams: options.streams,
            gso: options.gso,
            max_mtu: options.max_mtu,
            ..Settings::new(
                &options.region,
                options.certificate.clone(),
                options.key.clone(),
                options.ca.clone(),
            )
        };
        transport::start(settings, wake::raise)
            .map(Network)
            .map_err(|error| error.to_string())
    }

    pub fn send(&self, output: Output) {
        self.0.send(match output {
            Output::Send { links, frame } => Command::Send { links, frame },
            Output::Close { link, reason } => Command::Close { link, reason },
            Output::Established { link, region } => Command::Established { link, region },
            Output::Log { .. } => return,
        });
    }

    /// Hands one event to the engine; false when there is none. Only then does the next one wake us.
    pub fn pull(&mut self, ctx: Context<'_>, engine: &mut Engine, out: &mut Vec<Output>) -> bool {
        let Some(event) = self.0.try_recv() else { return false };
        let input = match &event {
            Event::Up {
                link,
                dialed,
                certificate,
                address,
            } => Input::Up {
                link: *link,
                dialed: dialed.as_deref(),
                certificate,
                address,
            },
            Event::Frame { link, frame } => Input::Frame { link: *link, frame },
            Event::Down { link, reason } => Input::Down { link: *link, reason },
            Event::DialFailed { peer, reason } => Input::DialFailed { peer, reason },
            Event::Log { level, text } => {
                site::log(ctx, *level, text);
                return true;
            }
        };
        engine.handle(input, out);
        true
    }

    /// Figures of one link, by name; none in its first second.
    pub fn figures(&self, link: LinkId) -> Vec<(&'static str, u64)> {
        let Some(figures) = self.0.statistics(link) else {
            return Vec::new();
        };
        vec![
            ("rtt_us", figures.rtt_us),
            ("bytes_in", figures.bytes_in),
            ("bytes_out", figures.bytes_out),
            ("datagrams_in", figures.datagrams_in),
            ("datagrams_out", figures.datagrams_out),
            ("retransmissions", figures.lost_packets),
            ("congestion_window", figures.cwnd),
            ("goodput", figures.goodput),
            ("transport_queue_bytes", figures.queued as u64),
        ]
    }

    /// Where peers reach us, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> String {
        self.0
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Says goodbye and ends the replication thread.
    pub fn stop(self) {
        self.0.stop();
    }
}
