//! A Redis Sentinel that watches one region and promotes a replica when its primary is gone.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::server::{connect, die_with_parent, program, quoted};
use super::{ports, wait_for};

const START: Duration = Duration::from_secs(30);
const REPLY: Duration = Duration::from_secs(5);

/// The process; dropping it kills it.
pub struct Sentinel {
    pub address: SocketAddr,
    region: String,
    child: Child,
}

impl Sentinel {
    /// Watches the region whose primary is at `primary`; its replicas are found through it. A primary that does not
    /// answer for `patience` is replaced.
    ///
    /// The process also ends when the calling thread ends: call this from a thread that lives on.
    pub fn start(directory: &Path, region: &str, primary: SocketAddr, patience: Duration) -> io::Result<Sentinel> {
        fs::create_dir_all(directory)?;
        let address = ports::free();
        let path = directory.join("sentinel.conf");
        let (ip, port) = (primary.ip(), primary.port());
        let lines = [
            "bind 127.0.0.1".to_string(),
            format!("port {}", address.port()),
            format!("dir {}", quoted(directory)),
            format!("logfile {}", quoted(&directory.join("sentinel.log"))),
            format!("sentinel monitor {region} {ip} {port} 1"),
            format!("sentinel down-after-milliseconds {region} {}", patience.as_millis()),
            format!("sentinel failover-timeout {region} {}", 5 * patience.as_millis()),
        ];
        fs::write(&path, lines.join("\n") + "\n")?;
        let mut command = Command::new(program());
        command
            .arg(&path)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        die_with_parent(&mut command);
        let child = command.spawn()?;
        let sentinel = Sentinel {
            address,
            region: region.into(),
            child,
        };
        wait_for("the sentinel's first answer", START, || sentinel.primary()).map_err(io::Error::other)?;
        Ok(sentinel)
    }

    /// Where it says that the region's primary is.
    pub fn primary(&self) -> Option<SocketAddr> {
        let mut connection = connect(self.address, REPLY).ok()?;
        let (ip, port): (String, u16) = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.region)
            .query(&mut connection)
            .ok()?;
        Some(SocketAddr::new(ip.parse().ok()?, port))
    }

    /// Whether it has found so many replicas of the region: without any it cannot replace the primary.
    pub fn knows_replicas(&self, count: usize) -> bool {
        let replicas = connect(self.address, REPLY).and_then(|mut connection| {
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("REPLICAS")
                .arg(&self.region)
                .query::<Vec<redis::Value>>(&mut connection)
        });
        replicas.is_ok_and(|replicas| replicas.len() >= count)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
