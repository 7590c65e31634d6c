//! Connects client connections to the shards on the same loop.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_protocol::replication::Election;
use quorate_protocol::{GroupId, NodeId};
use quorate_runtime::NodeHandle;
use quorate_runtime::shell::LocalHandle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::address::Address;
use super::command::{About, Answer, ReadBatch, Role, ServerInfo, keys_of_entry};
use super::connection::{Freshness, KnownUsers, Reason, Written};
use super::memory::Memory;
use super::peers::Peers;
use super::pubsub::{self, Request};
use super::server::Backend;
use super::shards::layout::{Layout, Target};
use super::status;
use super::store::{Cut, PasswordHash, Wait, slot_of};

mod backup;
mod breather;
mod commit;
mod every;
mod layout_keeper;
mod layout_register;
mod mover;
mod pieces;
mod shard;
mod transact;
mod user_keeper;

pub use breather::Breather;
use commit::Commits;
pub use commit::{COMMIT_CHANNEL, commit_group, commit_settings, shard_resources};
use layout_keeper::LayoutKeeper;
pub use layout_register::{LAYOUT_GROUP, LayoutRegister};
use shard::{Fetched, LocalShard, Read, Tried};
use user_keeper::UserKeeper;

/// The group of a shard.
pub fn shard_group(shard: u16) -> GroupId {
    GroupId(u64::from(shard))
}

/// Maximum time until a command is answered, if only by an error. It is longer than an election takes. A write that was
/// on its way to a leader that died is reported as unknown only after this time.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// The shards on this loop's node.
pub struct ShardsBackend<E: Election> {
    shared: Rc<Shared<E>>,
}

struct Shared<E: Election> {
    id: NodeId,
    /// A command for a shard that another node leads is answered by its address.
    redirects: bool,
    shards: Vec<LocalShard<E>>,
    layout: RefCell<Arc<Layout>>,
    keeper: Option<LayoutKeeper>,
    commits: Option<Commits<E>>,
    users: UserKeeper,
    memory: Memory,
    /// The address for clients of each node.
    clients: BTreeMap<u64, Address>,
    peers: Peers,
    /// Transactions that this node begins wait for it.
    breather: Rc<Breather>,
    /// Told when the layout that this node has is known to be old.
    outdated: Notify,
}

/// The node that a backend serves on.
pub struct Place {
    /// The node's loop.
    pub local: LocalHandle,
    /// The node.
    pub node: NodeHandle,
    /// Its id.
    pub id: NodeId,
    /// The nodes that began the cluster.
    pub founders: Vec<u64>,
    /// The addresses for clients of all nodes.
    pub clients: BTreeMap<u64, Address>,
    /// Number of shards.
    pub shards: u16,
    /// A command for a shard that another node leads is answered by its address (`redirect` in the cluster file).
    pub redirects: bool,
    /// The other nodes.
    pub peers: Peers,
    /// The password of the user `default` until somebody changes that user.
    pub first_password: Option<PasswordHash>,
    /// Maximum bytes of keys and values, 0 if there is no limit.
    pub memory_max: u64,
}

impl<E: Election> Clone for ShardsBackend<E> {
    fn clone(&self) -> Self {
        Self { shared: Rc::clone(&self.shared) }
    }
}

impl<E: Election> ShardsBackend<E> {
    /// The shards that a node runs.
    pub fn new(place: Place) -> Self {
        let Place { local, node, id, founders, clients, shards, redirects, peers, first_password, memory_max } = place;
        let has_several = shards > 1;
        let uploads = Rc::default();
        let shared = Shared {
            id,
            redirects: redirects && has_several,
            shards: (0..shards).map(|shard| LocalShard::new(local.clone(), shard, &uploads)).collect(),
            layout: RefCell::new(Arc::new(Layout::even(shards))),
            keeper: has_several.then(|| LayoutKeeper::new(LayoutRegister::new(node.clone()))),
            commits: has_several.then(|| Commits::new(node, id, founders, shards)),
            users: UserKeeper::new(first_password),
            memory: Memory::new(memory_max, shards),
            clients,
            peers,
            breather: Rc::default(),
            outdated: Notify::new(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Keeps the users, the layout and the transactions of this node in order, as long as it runs. A store of one shard
    /// has neither layout nor transactions.
    pub async fn keep(&self) {
        let shards = async {
            match (&self.shared.keeper, &self.shared.commits) {
                (Some(keeper), Some(commits)) => {
                    tokio::join!(keeper.keep(&self.shared), commits.open(), mover::keep_moving(&self.shared));
                }
                _ => std::future::pending().await,
            }
        };
        tokio::join!(shards, self.shared.users.keep(&self.shared), self.weigh());
    }

    /// Notes again and again what the shards weigh, if there is a limit for several.
    async fn weigh(&self) {
        let Shared { memory, shards, .. } = &*self.shared;
        while memory.is_shared() {
            for (shard, place) in shards.iter().zip(0..) {
                if let Ok(weight) = shard.look(Freshness::Local, |shard, _| shard.state().weight()).await {
                    memory.note(place, weight);
                }
            }
            tokio::time::sleep(WEIGHED_EVERY).await;
        }
    }

    /// What other nodes may ask for: that this node begins no transaction for a short time.
    pub fn breather(&self) -> Rc<Breather> {
        Rc::clone(&self.shared.breather)
    }

    /// The state of every shard at one moment: each write that was acknowledged before is in it, and a transaction is
    /// in it as a whole or not at all. Writes wait for a few milliseconds.
    ///
    /// # Errors
    /// When no quorum answers, or transactions were under way at each of many attempts.
    pub async fn cut(&self) -> Result<Vec<Cut>, Reason> {
        Self::ready(&self.shared, Instant::now() + COMMAND_TIMEOUT).await?;
        backup::cut(&self.shared).await
    }

    /// Waits until the layout is known.
    async fn ready(shared: &Shared<E>, deadline: Instant) -> Result<(), Reason> {
        match &shared.keeper {
            None => Ok(()),
            Some(keeper) => tokio::time::timeout_at(deadline, keeper.known()).await.map_err(|_| Reason::NoQuorum),
        }
    }
}

impl<E: Election> Shared<E> {
    fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.borrow())
    }

    fn is_ready(&self) -> bool {
        self.keeper.as_ref().is_none_or(LayoutKeeper::is_known)
    }

    /// The shard that a request belongs to by the layout, if this node has it.
    fn shard(&self, shard: u16) -> Result<&LocalShard<E>, Reason> {
        self.shards.get(usize::from(shard)).ok_or(Reason::NoQuorum)
    }

    /// Where the client of a work has to go, if it is to go elsewhere.
    async fn redirect(&self, target: Target, slot: impl FnOnce() -> Option<u16>) -> Option<Reason> {
        let Target::Shard(shard) = target else { return None };
        if !self.redirects {
            return None;
        }
        let leader = self.shard(shard).ok()?.status().await.ok()?.log.leader?;
        let to = self.clients.get(&leader.0).filter(|_| leader != self.id)?;
        Some(Reason::Moved { slot: slot()?, to: to.clone() })
    }

    /// The layout names another shard than the shards themselves.
    fn note_outdated(&self) {
        self.outdated.notify_one();
    }
}

impl<E: Election> Backend for ShardsBackend<E> {
    fn layout(&self) -> Arc<Layout> {
        self.shared.layout()
    }

    fn write(&self, target: Target, entry: Bytes) -> impl Future<Output = Written> + 'static {
        let shared = Rc::clone(&self.shared);
        let deadline = Instant::now() + pieces::time_for(entry.len());
        // Proposed before this returns, so that entries are proposed in the order of calls.
        let first = match target {
            Target::Shard(shard) if shared.is_ready() && !shared.redirects => {
                shared.shard(shard).ok().map(|it| it.propose(&entry, false))
            }
            _ => None,
        };
        async move {
            if let Some(first) = first {
                return match first.await {
                    Tried::Done(written) => written,
                    // Of one shard another entry of the client may be on its way, which must not overtake this one.
                    Tried::NotTaken if shared.shards.len() == 1 => Written::NotApplied(Reason::NoQuorum),
                    tried => shard::write_on(&shared, entry, tried, deadline).await,
                };
            }
            if let Err(reason) = Self::ready(&shared, deadline).await {
                return Written::NotApplied(reason);
            }
            if let Some(moved) =
                shared.redirect(target, || keys_of_entry(&entry).ok()?.first().map(|key| slot_of(key))).await
            {
                return Written::NotApplied(moved);
            }
            match target {
                Target::Shard(_) => shard::write_on(&shared, entry, Tried::Anew, deadline).await,
                Target::Several => transact::transact(&shared, entry, deadline).await,
                Target::Every => every::write(&shared, entry, deadline).await,
            }
        }
    }

    fn read(
        &self,
        target: Target,
        freshness: Freshness,
        batch: ReadBatch,
        server: ServerInfo,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static {
        let shared = Rc::clone(&self.shared);
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        // Of one shard, no key is locked or elsewhere.
        let again = (shared.shards.len() > 1).then(|| (batch.clone(), server.clone()));
        let is_for_all = batch.wants_info() && again.is_some();
        // Asked before this returns, as in `write`.
        let first = match target {
            Target::Shard(shard) if shared.is_ready() && !shared.redirects && !is_for_all => {
                shared.shard(shard).ok().map(|it| it.read(freshness, batch, server))
            }
            _ => None,
        };
        async move {
            let is_asked = first.is_some();
            let answer = match first {
                Some(first) => first.await,
                None => Ok(Read::Again),
            };
            let (batch, server) = match (answer, again) {
                (Ok(Read::Answer(answer)), _) => return Ok(answer),
                (Ok(Read::Again), Some(again)) => again,
                // The leadership of a shard may just pass to another node.
                (Err(Reason::NoQuorum), Some(again)) if freshness == Freshness::Linearizable => again,
                (Ok(Read::Again), None) => return Err(Reason::NoQuorum),
                (Err(reason), _) => return Err(reason),
            };
            if is_asked {
                return shard::read_on(&shared, batch, server, deadline).await;
            }
            if batch.wants_info() {
                return every::about(&shared, batch, server).await;
            }
            Self::ready(&shared, deadline).await?;
            if freshness == Freshness::Linearizable
                && let Some(moved) = shared.redirect(target, || batch.keys().first().map(|key| slot_of(key))).await
            {
                return Err(moved);
            }
            match target {
                Target::Shard(_) => shard::read_on(&shared, batch, server, deadline).await,
                Target::Several => transact::watch(&shared, &batch, deadline).await,
                Target::Every => every::read(&shared, batch, freshness).await,
            }
        }
    }

    fn read_or_wait(
        &self,
        target: Target,
        freshness: Freshness,
        batch: ReadBatch,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Answer, Reason>> + 'static {
        let shared = Rc::clone(&self.shared);
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        async move {
            Self::ready(&shared, deadline).await?;
            match target {
                Target::Shard(_) => shard::read_or_wait_on(&shared, freshness, batch, wake, deadline).await,
                Target::Several | Target::Every => Err(Reason::CrossShard),
            }
        }
    }

    fn ask_others(&self, request: &Request) -> impl Future<Output = Vec<pubsub::Answer>> + 'static {
        self.shared.peers.ask(request)
    }

    fn wait(
        &self,
        keys: Vec<Box<[u8]>>,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> impl Future<Output = Result<Vec<Wait>, Reason>> + 'static {
        let shared = Rc::clone(&self.shared);
        async move {
            let layout = shared.layout();
            let mut by_shard: BTreeMap<u16, Vec<Box<[u8]>>> = BTreeMap::new();
            for key in keys {
                by_shard.entry(layout.shard_of(&key)).or_default().push(key);
            }
            let mut waits = Vec::new();
            for (shard, keys) in by_shard {
                waits.push(shared.shard(shard)?.wait(keys, wake.clone()).await?);
            }
            Ok(waits)
        }
    }

    fn memory(&self) -> Memory {
        self.shared.memory.clone()
    }

    fn users(&self) -> KnownUsers {
        self.shared.users.known()
    }

    fn users_changed(&self) -> impl Future<Output = ()> + 'static {
        self.shared.users.changed()
    }

    fn refresh_users(&self) -> impl Future<Output = ()> + 'static {
        let shared = Rc::clone(&self.shared);
        async move {
            // The leader may have answered before this node's own store has the change.
            if let Err(reason) = shared.users.learn(&shared, Freshness::Linearizable).await {
                tracing::debug!(%reason, "the users were not read");
            }
        }
    }

    fn about(&self) -> impl Future<Output = About> + 'static {
        let shared = Rc::clone(&self.shared);
        let status = shared.shards[0].status();
        async move {
            let unknown = About { role: Role::Replica { master: None }, quorum: 0, lines: Vec::new() };
            status.await.map_or(unknown, |status| status::about(&status, &shared.clients))
        }
    }
}

/// Waits a little before another attempt, longer each time, and by chance, so that two who were in each other's way
/// meet no more. Returns false once the time is over.
async fn pause(attempt: u32, deadline: Instant) -> bool {
    let longest = PAUSE_MIN * 2_u32.pow(attempt.min(PAUSE_DOUBLINGS));
    let share = u32::try_from(super::random::fresh() % 1_000).expect("below a thousand");
    let until = Instant::now() + longest / 2 + longest * share / 2_000;
    if until > deadline {
        return false;
    }
    tokio::time::sleep_until(until).await;
    true
}

/// Pause between two looks at what the shards weigh.
const WEIGHED_EVERY: Duration = Duration::from_millis(100);
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_DOUBLINGS: u32 = 5;
