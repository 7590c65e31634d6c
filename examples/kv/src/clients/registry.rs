//! The clients that are connected to a node.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;

use crate::connection::{Connection, KnownUsers};
use crate::resp::Reply;

use super::{ClientRequest, ClientRow, answer};

/// The clients that are connected to a node, by the numbers of their connections.
#[derive(Debug, Default)]
pub struct Registry {
    clients: RefCell<BTreeMap<i64, Rc<Client>>>,
}

/// A client that is connected.
#[derive(Debug)]
pub struct Client {
    id: i64,
    connection: RefCell<Connection>,
    is_killed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Another client has ended this one (`CLIENT KILL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another client has ended this one")]
pub struct Killed;

impl Registry {
    /// Adds a client. Its connection must not be in use while another client's request is carried out.
    pub fn add(&self, id: i64, connection: Connection) -> Rc<Client> {
        let (connection, waker) = (RefCell::new(connection), RefCell::default());
        let client = Rc::new(Client { id, connection, is_killed: Cell::new(false), waker });
        self.clients.borrow_mut().insert(id, Rc::clone(&client));
        client
    }

    /// Removes a client.
    pub fn remove(&self, id: i64) {
        self.clients.borrow_mut().remove(&id);
    }

    /// Carries out a client's request at this time by the node's clock in microseconds, and gives it the reply.
    ///
    /// # Panics
    /// When one of the connections is in use, or the slot waits for no such answer.
    pub fn carry_out(&self, own: &Client, slot: u64, request: &ClientRequest, now_micros: u64) {
        let clients = self.clients.borrow();
        let rows: Vec<ClientRow> = clients.values().map(|client| client.connection.borrow().row(now_micros)).collect();
        let (reply, killed): (Reply, Vec<i64>) = answer(request, &rows, own.id);
        for client in killed.iter().filter_map(|id| clients.get(id)) {
            if client.id == own.id {
                own.connection().close_after_replies();
            } else {
                client.is_killed.set(true);
                client.wake();
            }
        }
        own.connection().on_clients(slot, &reply);
    }

    /// Tells all connections the users. Clients whose user is gone, or who listen to what they may not, are ended.
    ///
    /// # Panics
    /// When one of the connections is in use.
    pub fn set_users(&self, known: &KnownUsers) {
        for client in self.clients.borrow().values() {
            let mut connection = client.connection.borrow_mut();
            if connection.set_users(known) {
                continue;
            }
            if connection.is_changing_users() {
                connection.close_after_replies();
            } else {
                client.is_killed.set(true);
            }
            drop(connection);
            client.wake();
        }
    }

    /// Number of clients that wait in a command.
    pub fn blocked(&self) -> usize {
        self.clients.borrow().values().filter(|client| client.connection.borrow().is_blocked()).count()
    }
}

impl Client {
    /// Its connection.
    ///
    /// # Panics
    /// When it is in use.
    pub fn connection(&self) -> RefMut<'_, Connection> {
        self.connection.borrow_mut()
    }

    /// Has its task woken when another client ends this one.
    ///
    /// # Errors
    /// When that has happened.
    pub fn watch(&self, waker: &Waker) -> Result<(), Killed> {
        if self.is_killed.get() {
            return Err(Killed);
        }
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
        Ok(())
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
