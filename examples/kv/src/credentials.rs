//! What a program shows to the nodes of a cluster when it connects, and what it trusts.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::address::{self, Address};
use crate::client::{Answer, Client};

/// A name and a password, if a server asks for them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user, `default` unless given.
    pub user: Option<String>,
    /// The password; nothing is sent without one.
    pub password: Option<String>,
}

/// What a program shows to the nodes of a cluster, and what it trusts.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Who it is.
    pub login: Login,
    /// The authorities that it trusts, and its certificate if it has one. `None`: it does not encrypt.
    pub tls: Option<Arc<ClientConfig>>,
}

/// What a program reads and writes.
pub(crate) trait Stream: Read + Write + Send + fmt::Debug {}

impl<S: Read + Write + Send + fmt::Debug> Stream for S {}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.user)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?}, encrypts: {})", self.login, self.tls.is_some())
    }
}

impl Login {
    /// The value of the header `Authorization`. `None` without a password.
    pub(crate) fn header(&self) -> Option<String> {
        let (user, password) = (self.user.as_deref().unwrap_or("default"), self.password.as_deref()?);
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    /// The login of a header `Authorization`. `None` if it has another form.
    pub fn of_header(value: &str) -> Option<Self> {
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self { user: Some(user.to_owned()), password: Some(password.to_owned()) })
    }

    /// Says who is connected.
    fn enter(&self, client: &mut Client) -> io::Result<()> {
        let Some(password) = &self.password else { return Ok(()) };
        let user = self.user.as_deref().unwrap_or("default");
        let with_user = [&b"AUTH"[..], user.as_bytes(), password.as_bytes()];
        // Redis 5 knows no users.
        let command = if self.user.is_some() { &with_user[..] } else { &[with_user[0], with_user[2]] };
        match client.ask(command)? {
            Answer::Error(error) => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    }
}

impl Credentials {
    /// Connects as a client, encrypts and logs in; waits at most `patience` for each step and each answer.
    ///
    /// # Errors
    /// When the server is not reached, is none of those that are trusted, or refuses the login.
    pub fn connect(&self, to: &Address, patience: Duration) -> io::Result<Client> {
        let mut client = match &self.tls {
            None => Client::connect(to, patience)?,
            Some(config) => Client::connect_encrypted(to, patience, Arc::clone(config), name_of(to)?)?,
        };
        self.login.enter(&mut client)?;
        Ok(client)
    }

    /// Connects to a node's http port; waits at most `connect` for the connection, and `patience` for each read.
    pub(crate) fn stream(&self, to: &Address, connect: Duration, patience: Duration) -> io::Result<Box<dyn Stream>> {
        let stream = address::connect(to, connect)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let session = ClientConnection::new(Arc::clone(config), name_of(to)?).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }

    /// The line of a request's head that says who asks. Empty if nobody in particular does.
    pub(crate) fn header_line(&self) -> String {
        self.login.header().map_or_else(String::new, |value| format!("Authorization: {value}\r\n"))
    }
}

/// The name that a server's certificate must bear.
fn name_of(to: &Address) -> io::Result<ServerName<'static>> {
    ServerName::try_from(to.host().to_owned()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_through_a_header_and_back() {
        let login = |user: Option<&str>, password: &str| Login {
            user: user.map(str::to_owned),
            password: Some(password.to_owned()),
        };
        let known = login(Some("ops"), "a: secret \u{e4}");
        assert_eq!(Login::of_header(&known.header().unwrap()), Some(known));
        assert_eq!(login(None, "p").header().as_deref(), Some("Basic ZGVmYXVsdDpw"));
        assert_eq!(Login::default().header(), None);
        for text in ["", "Basic", "Basic *", "Basic YQ==", "Bearer YTpi", "Basic /w=="] {
            assert_eq!(Login::of_header(text), None, "{text}");
        }
    }
}
