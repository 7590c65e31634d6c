//! Starts and stops the systems under measurement, each in a directory of its own on free ports.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cost::{self, Ledger};

/// A system under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Three processes of this project's `kv serve`.
    Kv,
    /// Three processes of etcd.
    Etcd,
    /// One redis-server that syncs its append-only file before it answers.
    Redis,
}

impl Kind {
    /// The durability behind an acknowledged write.
    pub fn durability(self) -> &'static str {
        match self {
            Self::Kv => "synced by two of three nodes",
            Self::Etcd => "synced by two of three nodes, the default",
            Self::Redis => "synced by one node, appendfsync always",
        }
    }
}

/// A running system; dropping it kills its processes.
pub struct Cluster {
    /// Which system.
    pub kind: Kind,
    /// Where clients connect.
    pub clients: Vec<SocketAddr>,
    /// Where a kv node tells its metrics.
    pub http: Vec<SocketAddr>,
    processes: Vec<Child>,
    _data: tempfile::TempDir,
}

impl Cluster {
    /// Starts the system's processes. `options` go to `kv serve`.
    pub fn start(kind: Kind, kv: &Path, options: &[String]) -> io::Result<Self> {
        let data = tempfile::Builder::new().prefix("compare").tempdir_in(".")?;
        match kind {
            Kind::Kv => Self::start_kv(data, kv, options),
            Kind::Etcd => Self::start_etcd(data),
            Kind::Redis => Self::start_redis(data),
        }
    }

    fn start_kv(data: tempfile::TempDir, kv: &Path, options: &[String]) -> io::Result<Self> {
        let (peers, clients, http) = (ports(3)?, ports(3)?, ports(3)?);
        let mut file = format!("cluster = \"compare\"\ndata = \"{}\"\n", data.path().canonicalize()?.display());
        for node in 0..3 {
            file.push_str(&format!(
                "[[node]]\nid = {}\npeer = \"{}\"\nclient = \"{}\"\nhttp = \"{}\"\n",
                node + 1,
                peers[node],
                clients[node],
                http[node]
            ));
        }
        let config = data.path().join("cluster.toml");
        std::fs::write(&config, file)?;
        let mut processes = Vec::new();
        for node in 1..=3 {
            let mut command = Command::new(kv);
            command.arg("serve").arg("--config").arg(&config).arg("--node").arg(node.to_string()).args(options);
            processes.push(spawn(&mut command)?);
        }
        Ok(Self { kind: Kind::Kv, clients, http, processes, _data: data })
    }

    fn start_etcd(data: tempfile::TempDir) -> io::Result<Self> {
        let (peers, clients) = (ports(3)?, ports(3)?);
        let members: Vec<String> =
            peers.iter().enumerate().map(|(node, peer)| format!("n{node}=http://{peer}")).collect();
        let mut processes = Vec::new();
        for node in 0..3 {
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("n{node}"), "--log-level", "error"])
                .arg("--data-dir")
                .arg(data.path().join(format!("n{node}")))
                .args(["--listen-peer-urls", &format!("http://{}", peers[node])])
                .args(["--initial-advertise-peer-urls", &format!("http://{}", peers[node])])
                .args(["--listen-client-urls", &format!("http://{}", clients[node])])
                .args(["--advertise-client-urls", &format!("http://{}", clients[node])])
                .args(["--initial-cluster", &members.join(","), "--initial-cluster-state", "new"]);
            processes.push(spawn(&mut command)?);
        }
        Ok(Self { kind: Kind::Etcd, clients, http: Vec::new(), processes, _data: data })
    }

    fn start_redis(data: tempfile::TempDir) -> io::Result<Self> {
        let clients = ports(1)?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &clients[0].port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .arg("--dir")
            .arg(data.path());
        let processes = vec![spawn(&mut command)?];
        Ok(Self { kind: Kind::Redis, clients, http: Vec::new(), processes, _data: data })
    }

    /// Waits until a write succeeds.
    pub async fn wait_ready(&self) -> Result<(), Box<dyn std::error::Error>> {
        for _ in 0..300 {
            if self.try_write().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("{:?} did not take a write within 30 s", self.kind).into())
    }

    async fn try_write(&self) -> Result<(), Box<dyn std::error::Error>> {
        if self.kind == Kind::Etcd {
            let endpoints = [format!("http://{}", self.clients[0])];
            let mut client = etcd_client::Client::connect(endpoints, None).await?;
            client.put("ready", "1", None).await?;
            return Ok(());
        }
        let mut stream = TcpStream::connect(self.clients[0]).await?;
        stream.write_all(b"*3\r\n$3\r\nSET\r\n$5\r\nready\r\n$1\r\n1\r\n").await?;
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).await?;
        if &reply == b"+OK\r\n" { Ok(()) } else { Err("refused".into()) }
    }

    /// The address of the node that leads, where that is the fastest to ask; the first node where it cannot be told.
    pub async fn leader(&self) -> SocketAddr {
        for (http, client) in self.http.iter().zip(&self.clients) {
            if let Ok(status) = http_get(*http, "/status").await
                && status.contains("\"role\":\"leader\"")
            {
                return *client;
            }
        }
        self.clients[0]
    }

    /// The sum over all nodes of a counter in `/metrics`.
    pub async fn counter(&self, name: &str) -> Option<f64> {
        let mut sum = None;
        for http in &self.http {
            let text = http_get(*http, "/metrics").await.ok()?;
            let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
            let node: f64 = values.filter_map(|value| value.parse::<f64>().ok()).sum();
            sum = Some(sum.unwrap_or(0.0) + node);
        }
        sum
    }

    /// What the threads of each process have spent so far. The process that leads comes first.
    pub fn ledgers(&self, leader: SocketAddr) -> io::Result<Vec<Ledger>> {
        let mut ledgers: Vec<_> =
            self.processes.iter().map(|process| cost::ledger(process.id())).collect::<Result<_, _>>()?;
        let leads = self.clients.iter().position(|client| *client == leader).unwrap_or(0);
        ledgers.swap(0, leads);
        Ok(ledgers)
    }

    /// Resident memory of each process in MiB.
    pub fn resident_mib(&self) -> Vec<u64> {
        let resident = |process: &Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
        };
        self.processes.iter().filter_map(resident).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn http_get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn spawn(command: &mut Command) -> io::Result<Child> {
    let program = command.get_program().to_owned();
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    started.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))
}

fn ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}
