//! Throwaway database servers: each has a temporary directory of its own and listens on a socket in it.
//!
//! A server ends, and its directory goes, with the test process, however that ends: a shell waits for the end of a
//! pipe.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// The database system of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    Postgres,
    MariaDb,
}

/// A running server.
pub(crate) struct Server {
    system: System,
    directory: PathBuf,
    settings: Vec<String>,
    /// The shell that ends the server; its standard input is the pipe.
    shell: Child,
}

impl Server {
    /// Starts a server with these settings, such as `max_connections=20`; `None`, with a message, where the system is
    /// not installed.
    pub(crate) fn start(system: System, settings: &[&str]) -> Option<Self> {
        let Some(template) = template(system) else {
            eprintln!("skipped: {system:?} is not installed");
            return None;
        };
        let directory = directory(system);
        let copied = Command::new("cp").arg("-a").arg(template.join("data")).arg(&directory).status();
        assert!(copied.is_ok_and(|status| status.success()), "the data directory cannot be copied");
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let shell = run(system, &directory, &settings);
        let server = Self { system, directory, settings, shell };
        server.wait_until_ready();
        Some(server)
    }

    /// The directory with the socket: the host for PostgreSQL.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket, for MariaDB.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Ends all processes of the server with `SIGKILL`, as a crash does.
    pub(crate) fn crash(&mut self) {
        let server = self.process();
        let processes: Vec<u32> = [server].into_iter().chain(children(server)).collect();
        let named = processes.iter().map(ToString::to_string);
        let _ = Command::new("kill").arg("-KILL").args(named).stderr(Stdio::null()).status();
        // It reads a line, and leaves the directory in place.
        self.shell.stdin.take().expect("the pipe is open").write_all(b"keep\n").expect("the shell reads");
        self.shell.wait().expect("the shell ends");
        wait_for("the processes of the server to end", || {
            !processes.iter().any(|process| Path::new(&format!("/proc/{process}")).exists())
        });
    }

    /// Starts the server again after a crash, with other settings if there are any.
    pub(crate) fn restart(&mut self, settings: &[&str]) {
        self.settings.extend(settings.iter().map(ToString::to_string));
        self.shell = run(self.system, &self.directory, &self.settings);
        self.wait_until_ready();
    }

    /// What the server has written to its log since it was started.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap_or_default()).into_owned()
    }

    fn process(&self) -> u32 {
        let written = fs::read_to_string(self.directory.join("process")).expect("the shell has written it");
        written.trim().parse().expect("a number")
    }

    fn wait_until_ready(&self) {
        let ready = match self.system {
            System::Postgres => "database system is ready to accept connections",
            System::MariaDb => "ready for connections",
        };
        wait_for("the server to be ready", || {
            let log = self.log();
            assert!(!log.contains("ended by itself"), "the server does not start:\n{log}");
            log.contains(ready)
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Waits for a condition, at most for minutes.
#[allow(clippy::disallowed_methods, reason = "a process is waited for, which tells nobody")]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no end of waiting for {what}");
}

/// An empty database cluster, made once in a process.
fn template(system: System) -> Option<&'static Path> {
    static POSTGRES: OnceLock<Option<PathBuf>> = OnceLock::new();
    static MARIADB: OnceLock<Option<PathBuf>> = OnceLock::new();
    let template = match system {
        System::Postgres => &POSTGRES,
        System::MariaDb => &MARIADB,
    };
    template.get_or_init(|| make_template(system)).as_deref()
}

fn make_template(system: System) -> Option<PathBuf> {
    program(server_name(system))?;
    let installer = program(match system {
        System::Postgres => "initdb",
        System::MariaDb => "mariadb-install-db",
    })?;
    let directory = directory(system);
    let data = format!("{}/data", directory.display());
    let mut install = as_user(system, &installer);
    match system {
        System::Postgres => {
            install.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]);
            install.arg("--pgdata").arg(data)
        }
        System::MariaDb => {
            install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            install.arg(format!("--datadir={data}")).current_dir(&directory)
        }
    };
    let log = File::create(directory.join("log")).expect("the directory can be written");
    let status = install.stdout(log.try_clone().expect("a descriptor")).stderr(log).stdin(Stdio::null()).status();
    let said = || fs::read_to_string(directory.join("log")).unwrap_or_default();
    assert!(status.is_ok_and(|status| status.success()), "{system:?} makes no data directory:\n{}", said());
    let mut remover = Command::new("sh");
    remover.arg("-c").arg("trap : HUP INT TERM; read line; rm -rf \"$0\"").arg(&directory).stdin(Stdio::piped());
    // Its pipe is open as long as this process lives.
    std::mem::forget(remover.spawn().expect("a shell"));
    Some(directory)
}

/// Starts the server under a shell.
fn run(system: System, directory: &Path, settings: &[String]) -> Child {
    let server = program(server_name(system)).expect("it was there for the template");
    let script = "trap : HUP INT TERM; (sh -c 'echo $$ >process; exec \"$0\" \"$@\"' \"$@\" >log 2>&1 </dev/null; echo ended by itself >>log) & \
                  if read line; then wait; else kill -KILL $(cat process); wait; rm -rf \"$PWD\"; fi";
    let mut shell = as_user(system, Path::new("sh"));
    shell.arg("-c").arg(script).arg("sh").arg(server).current_dir(directory).stdin(Stdio::piped());
    let path = directory.display();
    match system {
        System::Postgres => {
            shell.args(["-D", "data", "-c", "listen_addresses=", "-c"]).arg(format!("unix_socket_directories={path}"));
            shell.args(["-c", "max_prepared_transactions=100"]);
            shell.args(settings.iter().flat_map(|setting| ["-c", setting]));
        }
        System::MariaDb => {
            shell.args(["--no-defaults", "--skip-networking", "--innodb-buffer-pool-size=32M"]);
            // A server removes the temporary tables that it finds at its start, also those of others.
            shell.arg(format!("--tmpdir={path}"));
            for (setting, file) in [("datadir", "data"), ("socket", "socket"), ("pid-file", "pid")] {
                shell.arg(format!("--{setting}={path}/{file}"));
            }
            shell.args(settings.iter().map(|setting| format!("--{setting}")));
        }
    }
    // What an earlier start has written says nothing about this one.
    let _ = fs::remove_file(directory.join("log"));
    let _ = fs::remove_file(directory.join("data/postmaster.pid"));
    shell.spawn().expect("a shell")
}

/// A new directory that the system's user may write.
fn directory(system: System) -> PathBuf {
    let directory = tempfile::Builder::new().prefix("quorate-server-").tempdir().expect("a directory").keep();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    if let Some((user, group)) = user(system) {
        chown(&directory, Some(user), Some(group)).expect("root may do so");
    }
    directory
}

/// The servers refuse to run as root, and have users of their own.
fn as_user(system: System, program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user(system) {
        command.uid(user).gid(group);
    }
    command
}

/// User and group under which the server runs, if this process may choose.
fn user(system: System) -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"));
    let names = match system {
        System::Postgres => ["postgres", "nobody"],
        System::MariaDb => ["mysql", "nobody"],
    };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    root.then(|| names.into_iter().find_map(ids).expect("there is nobody"))
}

fn server_name(system: System) -> &'static str {
    match system {
        System::Postgres => "postgres",
        System::MariaDb => "mariadbd",
    }
}

/// Where a program is: in the path, or where Debian has it.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let places = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .chain(versions.map(|version| version.path().join("bin")));
    places.map(|place| place.join(name)).find(|file| file.is_file())
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}
