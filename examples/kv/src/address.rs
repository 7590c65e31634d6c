//! Where a node is reached: a host and a port.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io, vec};

/// A host, by name or IP address, and a port. A name is looked up each time that it is used, since the machine behind
/// it may change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

/// Reason why a text is no [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text has another form.
    #[error("an address is a host name or an IP address, a colon and a port, such as db1.example:7001 or [::1]:7001")]
    Form,
    /// The port is 0, which means any free one: others could not find the node.
    #[error("port 0 is none that others can dial")]
    NoPort,
}

impl Address {
    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Looks the host up, and returns the first of its addresses. May wait for a name server.
    ///
    /// # Errors
    /// When the name is unknown now.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        self.to_socket_addrs()?.next().ok_or_else(no_address)
    }
}

impl ToSocketAddrs for Address {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (&*self.host, self.port).to_socket_addrs()
    }
}

/// Connects to the first of the addresses that answers; waits at most `patience` for each.
///
/// # Errors
/// When the name is unknown now, and the error of the last address.
pub fn connect(to: impl ToSocketAddrs, patience: Duration) -> io::Result<TcpStream> {
    let mut result = Err(no_address());
    for address in to.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, patience);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Form)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or(AddressError::Form)?;
                host.parse::<Ipv6Addr>().map_err(|_| AddressError::Form)?;
                host
            }
            None if is_name(host) => host,
            None => return Err(AddressError::Form),
        };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(0) => Err(AddressError::NoPort),
            Ok(port) if is_number => Ok(Self { host: host.into(), port }),
            _ => Err(AddressError::Form),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Returns true if the text is an IPv4 address, or a host name of letters, digits, hyphens, underscores and dots.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(allowed) && !label.starts_with('-')
    };
    // A name whose last label is a number would be looked up as a malformed address.
    let last = text.rsplit('.').next().unwrap_or("");
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label) && (!is_number || text.parse::<IpAddr>().is_ok())
}

const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:7001", "[::1]:7001", "localhost:1", "db-1.example:65535", "my_host:80", "1a:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:80".parse::<Address>().unwrap().host(), "::1");
        assert_eq!("[::1]:80".parse::<Address>().unwrap(), Address::from("[::1]:80".parse::<SocketAddr>().unwrap()));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("{}:80", "a".repeat(64));
        let texts = [
            "",
            ":80",
            "host",
            "host:",
            "host:x",
            "host:+80",
            "host:65536",
            "::1:80",
            "[::1]",
            "[host]:80",
            "a..b:80",
            "-a:80",
            "a b:80",
            "1.2.3:80",
            "1.2.3.400:80",
            "h\u{e4}:80",
            "http://host:80",
            &long,
        ];
        for text in texts {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Form), "{text}");
        }
        assert_eq!("host:0".parse::<Address>(), Err(AddressError::NoPort));
    }

    #[test]
    fn an_address_needs_no_look_up() {
        assert_eq!("[::1]:80".parse::<Address>().unwrap().resolve().unwrap(), "[::1]:80".parse().unwrap());
    }
}
