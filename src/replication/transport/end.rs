//! Why a link ends, in words.

use std::fmt;

use quinn::ConnectionError;

use super::wire::{Violation, printable};

/// What ends a link that nobody asked to close.
#[derive(Debug)]
pub(super) enum Fault {
    Lost(ConnectionError),
    /// The peer sent what it must not.
    Violation(Violation),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Fault {
        Fault::Violation(violation)
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Fault {
        Fault::Lost(error)
    }
}

impl Fault {
    /// The peer no longer wants the connection that it had begun, because another one stands by now. Nobody is at
    /// fault.
    pub(super) fn is_change_of_mind(&self) -> bool {
        match self {
            // During the handshake QUIC hides an application's reasons (RFC 9000, 10.2.3).
            Fault::Lost(ConnectionError::ConnectionClosed(close)) => {
                close.error_code == quinn::TransportErrorCode::APPLICATION_ERROR
            }
            Fault::Lost(ConnectionError::ApplicationClosed(close)) => close.reason.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Lost(error) => f.write_str(&lost(error)),
            Fault::Violation(Violation(text)) => write!(f, "protocol error: {text}"),
        }
    }
}

/// One line for people. A TLS alert (crypto error) tells who refused whose certificate.
pub(super) fn lost(error: &ConnectionError) -> String {
    let text = match error {
        ConnectionError::TimedOut => "no answer (timed out)".to_string(),
        ConnectionError::Reset => "the peer does not know this connection (restarted?)".to_string(),
        ConnectionError::LocallyClosed => "closed".to_string(),
        ConnectionError::ApplicationClosed(close) => {
            format!("closed by the peer: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::ConnectionClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            match is_crypto(close.error_code) {
                true => format!("the peer refuses the TLS handshake (its CA, our certificate or name): {reason}"),
                false => format!("the peer refuses the connection: {} {reason}", close.error_code),
            }
        }
        ConnectionError::TransportError(error) if is_crypto(error.code) => {
            format!("TLS handshake refused: {}", error.reason)
        }
        other => other.to_string(),
    };
    printable(&text)
}

/// QUIC carries TLS alerts as 0x100 + alert (RFC 9001, 4.8).
fn is_crypto(code: quinn::TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}
