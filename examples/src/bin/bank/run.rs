//! The run: recovery, transfers, audit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_two_phase_commit::manager::{Manager, Outcome, Resource};

use tokio::net::TcpListener;

use super::Failure;
use super::crash::Bomb;
use super::operator;
use super::side::{ACCOUNTS, BALANCE, Ledger, Side};

/// Time within which a run recovers what an earlier one has left.
const RECOVERY: Duration = Duration::from_mins(1);

/// Two sides with money. What one loses the other wins.
pub(crate) struct Bank<A, B> {
    first: Resource<A>,
    second: Resource<B>,
    ledgers: [Box<dyn Ledger>; 2],
    bomb: Arc<Bomb>,
    /// Address at which operators are answered.
    admin: Option<SocketAddr>,
}

/// What has become of the transfers.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    committed: AtomicU64,
    aborted: AtomicU64,
    unknown: AtomicU64,
}

impl<A: Side, B: Side> Bank<A, B> {
    /// Each side has a name, a resource, and its books.
    pub(crate) fn new(first: (&str, A, impl Ledger + 'static), second: (&str, B, impl Ledger + 'static)) -> Self {
        Self {
            first: Resource::new(first.0, first.1),
            second: Resource::new(second.0, second.1),
            ledgers: [Box::new(first.2), Box::new(second.2)],
            bomb: Bomb::new(None),
            admin: None,
        }
    }

    pub(crate) fn with_bomb(self, bomb: Arc<Bomb>) -> Self {
        Self { bomb, ..self }
    }

    pub(crate) fn with_admin(self, admin: Option<SocketAddr>) -> Self {
        Self { admin, ..self }
    }

    /// Recovers, transfers, and counts the money. Returns whether the books are right.
    pub(crate) async fn run(self, data: &Path, transfers: u64, clients: u64) -> Result<bool, Failure> {
        for ledger in &self.ledgers {
            ledger.open().await?;
        }
        let manager = self.open(data).await?;
        self.recover(&manager).await?;
        let (bank, counts) = (Arc::new(self), Arc::new(Counts::default()));
        let bar =
            ProgressBar::new(transfers).with_style(ProgressStyle::with_template("{pos}/{len} {bar:40} {per_sec}")?);
        let began = Instant::now();
        let clients: Vec<_> = (0..clients.max(1))
            .map(|_| tokio::spawn(transfer_all(bank.clone(), manager.clone(), counts.clone(), transfers, bar.clone())))
            .collect();
        for client in clients {
            client.await??;
        }
        bar.finish_and_clear();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "{} transfers committed, {} aborted, {} not known, in {:.1?}",
            count(&counts.committed),
            count(&counts.aborted),
            count(&counts.unknown),
            began.elapsed()
        );
        bank.recover(&manager).await?;
        bank.audit(&manager).await
    }

    /// Recovers, and counts the money.
    pub(crate) async fn audit_only(self, data: &Path) -> Result<bool, Failure> {
        let manager = self.open(data).await?;
        self.recover(&manager).await?;
        self.audit(&manager).await
    }

    async fn open(&self, data: &Path) -> Result<Manager, Failure> {
        let manager = Manager::builder("bank", data).resource(&self.first).resource(&self.second).open().await?;
        if let Some(address) = self.admin {
            let listener = TcpListener::bind(address).await?;
            if !listener.local_addr()?.ip().is_loopback() {
                return Err("operators are served on a loopback address only".into());
            }
            println!("operators: {}", listener.local_addr()?);
            tokio::spawn(operator::serve(listener, manager.clone()));
        }
        Ok(manager)
    }

    /// Waits until nothing of an earlier start is in doubt or prepared, as far as it comes to that in time.
    async fn recover(&self, manager: &Manager) -> Result<(), Failure> {
        let began = Instant::now();
        let mut left = Some(self.left(manager).await);
        if let Some(Ok(0)) = left {
            return Ok(());
        }
        println!("an earlier run was not finished, or a database does not answer: recovering");
        while began.elapsed() < RECOVERY {
            if let Some(Ok(0)) = left {
                println!("recovered in {:.1?}", began.elapsed());
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            left = Some(self.left(manager).await);
        }
        Ok(())
    }

    /// The number of transactions in doubt and of prepared branches.
    async fn left(&self, manager: &Manager) -> Result<usize, Failure> {
        let status = manager.status().await.ok_or("the manager has stopped")?;
        if let Some(resource) = status.resources.values().find(|resource| !resource.has_listed) {
            return Err(format!("{} was not asked yet", resource.name).into());
        }
        let first = self.first.get().recover(manager.id(), self.first.id()).await?;
        let second = self.second.get().recover(manager.id(), self.second.id()).await?;
        Ok(status.in_doubt.len() + first.len() + second.len())
    }

    /// Prints and judges the books.
    async fn audit(&self, manager: &Manager) -> Result<bool, Failure> {
        let left = self.left(manager).await;
        let hazards = manager.status().await.map_or(0, |status| status.hazards.len());
        let totals = [self.ledgers[0].total().await?, self.ledgers[1].total().await?];
        let expected = 2 * i64::from(ACCOUNTS) * BALANCE;
        println!("{}: {}", self.first.name(), totals[0]);
        println!("{}: {}", self.second.name(), totals[1]);
        println!("total: {} of {expected}", totals[0] + totals[1]);
        match &left {
            Ok(left) => println!("in doubt or prepared: {left}"),
            Err(why) => println!("in doubt or prepared: not known, because {why}"),
        }
        if hazards > 0 {
            println!("transactions that one side did not follow: {hazards}");
        }
        manager.close().await;
        Ok(totals[0] + totals[1] == expected && matches!(left, Ok(0)) && hazards == 0)
    }

    /// One transfer, from an account of one side to one of the other.
    async fn transfer(&self, manager: &Manager, number: u64) -> Result<Outcome, Failure> {
        let account = |salt: u64| {
            let spread = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ salt;
            u32::try_from(spread % u64::from(ACCOUNTS)).map(|index| index + 1)
        };
        let amount = if number.is_multiple_of(2) { 7 } else { -5 };
        let transaction = manager.begin().await?;
        {
            let mut first = transaction.enlist(&self.first).await?;
            A::add(&mut first, account(3)?, -amount).await?;
            let mut second = transaction.enlist(&self.second).await?;
            B::add(&mut second, account(11)?, amount).await?;
        }
        Ok(transaction.commit().await)
    }
}

/// One client: it takes the next transfer until there is none.
async fn transfer_all<A: Side, B: Side>(
    bank: Arc<Bank<A, B>>,
    manager: Manager,
    counts: Arc<Counts>,
    transfers: u64,
    bar: ProgressBar,
) -> Result<(), Failure> {
    loop {
        let number = counts.begun.fetch_add(1, Ordering::Relaxed);
        if number >= transfers {
            return Ok(());
        }
        if bank.bomb.is_there() && number == transfers / 2 {
            bank.bomb.arm();
        }
        let counter = match bank.transfer(&manager, number).await {
            Ok(Outcome::Committed | Outcome::Mixed { .. }) => &counts.committed,
            Ok(Outcome::InDoubt(_)) => &counts.unknown,
            Ok(Outcome::Aborted(_)) => &counts.aborted,
            Err(failure) => {
                bar.suspend(|| eprintln!("bank: transfer {number}: {failure}"));
                // A database that does not answer now may answer soon.
                tokio::time::sleep(Duration::from_millis(100)).await;
                &counts.aborted
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        bar.inc(1);
    }
}
