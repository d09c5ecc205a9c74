//! A client that costs little: requests are encoded before the clock starts, replies are only counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Result;

const REPLY: Duration = Duration::from_secs(60);

/// Encodes one request (RESP array of bulk strings).
pub fn encode(into: &mut Vec<u8>, words: &[&str]) {
    into.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        into.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

/// Connections that keep a server busy, each with up to `pipeline` requests on their way.
pub struct Client {
    connections: Vec<TcpStream>,
    pipeline: u64,
    /// Lines of a reply.
    lines: u64,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(server: SocketAddr, connections: usize, pipeline: u64) -> Result<Client> {
        let connect = || -> Result<TcpStream> {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(REPLY))?;
            Ok(stream)
        };
        let connections = (0..connections).map(|_| connect()).collect::<Result<_>>()?;
        Ok(Client {
            connections,
            pipeline,
            lines: 1,
            buffer: vec![0; 64 << 10],
        })
    }

    /// For requests whose replies have another number of lines than one.
    pub fn expecting(self, lines: u64) -> Client {
        Client { lines, ..self }
    }

    /// Sends at least `operations` requests that `request` encodes by number, and gives how many it sent and how long
    /// that took.
    pub fn run(&mut self, operations: u64, request: impl Fn(u64, &mut Vec<u8>)) -> Result<(u64, Duration)> {
        let batches = self.batches(operations, request);
        let (pipeline, connections) = (self.pipeline, self.connections.len());
        let lines = pipeline * self.lines;
        let start = Instant::now();
        for turn in batches.chunks(connections) {
            for (connection, batch) in self.connections.iter_mut().zip(turn) {
                connection.write_all(batch)?;
            }
            for connection in self.connections.iter_mut().take(turn.len()) {
                read_lines(connection, lines, &mut self.buffer)?;
            }
        }
        Ok((batches.len() as u64 * pipeline, start.elapsed()))
    }

    /// Requests as each connection will send them at once.
    fn batches(&self, operations: u64, request: impl Fn(u64, &mut Vec<u8>)) -> Vec<Vec<u8>> {
        let batch = |first: u64| {
            let mut batch = Vec::new();
            (first..first + self.pipeline).for_each(|number| request(number, &mut batch));
            batch
        };
        (0..operations.div_ceil(self.pipeline))
            .map(|number| batch(number * self.pipeline))
            .collect()
    }
}

fn read_lines(connection: &mut TcpStream, count: u64, buffer: &mut [u8]) -> Result<()> {
    let mut lines = 0;
    let mut line_begins = true;
    while lines < count {
        let length = connection.read(buffer)?;
        if length == 0 {
            return Err("the server closed the connection".into());
        }
        for (index, byte) in buffer[..length].iter().enumerate() {
            if line_begins && *byte == b'-' {
                return Err(String::from_utf8_lossy(&buffer[index..length]).into());
            }
            line_begins = *byte == b'\n';
            lines += u64::from(line_begins);
        }
    }
    Ok(())
}
