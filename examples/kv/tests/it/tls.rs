//! Nodes and clients that encrypt.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use quorate_kv::client::{Answer, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::cluster::Cluster;

const PATIENCE: Duration = Duration::from_secs(10);

fn ok() -> Answer {
    Answer::Status("OK".to_owned())
}

/// A cluster whose certificates are in a folder beside its file.
fn cluster(nodes: u64, clients: &str) -> Cluster {
    let files = "ca = \"certs/ca.pem\"\ncert = \"certs/node-{node}.pem\"\nkey = \"certs/node-{node}.key\"";
    let mut cluster = Cluster::describe(nodes, &format!("[tls]\n{files}\nclients = \"{clients}\""));
    certs(&cluster, "certs");
    cluster.start_all();
    cluster.leader();
    cluster
}

/// Has `kv certs` make an authority and certificates.
pub(crate) fn certs(cluster: &Cluster, folder: &str) {
    let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
    let made = kv.arg("certs").arg(cluster.folder().join(folder)).arg("--config").arg(cluster.config_path()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A client that trusts this authority, with a certificate of its own or not.
fn config(authority: &Path, own: Option<&Path>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(folder) => {
            let certificate = CertificateDer::from_pem_file(folder.join("client.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

/// Has all nodes read their certificates again.
pub(crate) fn reload(cluster: &Cluster) {
    for id in cluster.running() {
        cluster.signal(id, "HUP");
    }
}

/// The answer of a node to an encrypted client.
fn ask(cluster: &Cluster, node: u64, config: &Arc<ClientConfig>, command: &[&[u8]]) -> std::io::Result<Answer> {
    let address = cluster.node(node).client;
    let name = ServerName::from(address.host().parse::<IpAddr>().unwrap());
    Client::connect_encrypted(&address, PATIENCE, Arc::clone(config), name)?.ask(command)
}

#[test]
fn nodes_and_clients_encrypt_and_certificates_are_renewed_while_they_run() {
    let mut cluster = cluster(3, "tls");
    let folder = cluster.folder().to_owned();
    let old = config(&folder.join("certs/ca.pem"), None);
    assert_eq!(ask(&cluster, 1, &old, &[b"SET", b"key", b"value"]).unwrap(), ok());
    for id in cluster.ids() {
        assert_eq!(ask(&cluster, id, &old, &[b"GET", b"key"]).unwrap(), Answer::Bulk("value".into()));
    }
    let plain = Client::connect(&cluster.node(1).client, PATIENCE).and_then(|mut client| client.ask(&[b"PING"]));
    assert!(plain.is_err(), "who does not encrypt is not answered: {plain:?}");

    // Another authority: first it is trusted too, then its certificates are shown, then the old one is trusted no more.
    certs(&cluster, "next");
    let text = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    fs::write(folder.join("certs/ca.pem"), text("certs/ca.pem") + &text("next/ca.pem")).unwrap();
    reload(&cluster);
    let new = config(&folder.join("next/ca.pem"), None);
    let foreign = ask(&cluster, 1, &new, &[b"PING"]);
    assert!(foreign.is_err(), "the nodes still show certificates of the old authority: {foreign:?}");
    for id in cluster.ids() {
        for end in ["pem", "key"] {
            fs::copy(folder.join(format!("next/node-{id}.{end}")), folder.join(format!("certs/node-{id}.{end}")))
                .unwrap();
        }
    }
    reload(&cluster);
    for id in cluster.ids() {
        cluster.wait("a node shows its new certificate", || ask(&cluster, id, &new, &[b"PING"]).is_ok());
    }
    fs::copy(folder.join("next/ca.pem"), folder.join("certs/ca.pem")).unwrap();
    reload(&cluster);
    assert!(ask(&cluster, 1, &old, &[b"PING"]).is_err(), "a client of the old authority");

    // A node that is started anew has new connections to all others.
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.launch(leader);
    cluster.wait("the node is among the others again", || {
        ask(&cluster, leader, &new, &[b"SET", b"key", b"other"]).is_ok_and(|answer| answer == ok())
    });
    for id in cluster.ids() {
        assert_eq!(ask(&cluster, id, &new, &[b"GET", b"key"]).unwrap(), Answer::Bulk("other".into()));
    }
}

#[test]
fn clients_may_have_to_show_a_certificate() {
    let cluster = cluster(1, "certificate");
    let folder = cluster.folder().join("certs");
    let authority = folder.join("ca.pem");
    assert!(ask(&cluster, 1, &config(&authority, None), &[b"PING"]).is_err());
    let known = config(&authority, Some(&folder));
    assert_eq!(ask(&cluster, 1, &known, &[b"SET", b"key", b"value"]).unwrap(), ok());
    // One of another authority.
    certs(&cluster, "other");
    let foreign = config(&authority, Some(&cluster.folder().join("other")));
    assert!(ask(&cluster, 1, &foreign, &[b"GET", b"key"]).is_err());
}

#[test]
fn a_node_does_not_start_with_certificates_that_do_not_fit() {
    let mut cluster = cluster(1, "tls");
    cluster.kill(1);
    certs(&cluster, "other");
    fs::copy(cluster.folder().join("other/node-1.key"), cluster.folder().join("certs/node-1.key")).unwrap();
    let said = cluster.refusal(1);
    assert!(said.contains("key"), "{said}");
    fs::remove_file(cluster.folder().join("certs/node-1.key")).unwrap();
    let said = cluster.refusal(1);
    assert!(said.contains("node-1.key"), "{said}");
}

/// Runs a command of `kv` on the cluster. Returns its exit code and all that it said.
fn kv(cluster: &Cluster, words: &str, password: Option<&str>) -> (Option<i32>, String) {
    let mut kv = Command::new(env!("CARGO_BIN_EXE_kv"));
    kv.args(words.split(' ')).arg("--config").arg(cluster.config_path()).current_dir(cluster.folder());
    kv.env_remove("KV_PASSWORD").envs(password.map(|password| ("KV_PASSWORD", password)));
    let output = kv.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Tools encrypt and log in by themselves, and get nothing where they do not.
#[test]
fn tools_encrypt_and_log_in() {
    let files = "ca = \"certs/ca.pem\"\ncert = \"certs/node-{node}.pem\"\nkey = \"certs/node-{node}.key\"";
    let more = format!("requirepass = \"secret\"\n[tls]\n{files}\nclients = \"certificate\"");
    let mut cluster = Cluster::describe_with_joining(1, 1, &more);
    certs(&cluster, "certs");
    cluster.start_all();
    cluster.wait("a leader", || cluster.group(1).is_some_and(|group| group.role == "leader"));
    fs::write(cluster.folder().join("password"), "secret\nand a second line").unwrap();

    // Who shows how the cluster is needs no login.
    let (code, said) = kv(&cluster, "status", None);
    assert!(code == Some(0) && said.contains("leader"), "{said}");
    for words in ["member add 2", "backup nothing.rdb", "export --out nothing.rdb"] {
        for password in [None, Some("wrong")] {
            let (code, said) = kv(&cluster, words, password);
            assert_eq!(code, Some(1), "{words}: {said}");
            assert!(!cluster.folder().join("nothing.rdb").exists(), "{words}");
        }
    }
    let (code, said) = kv(&cluster, "member add 2", Some("secret"));
    assert_eq!(code, Some(0), "{said}");
    for words in ["record --seconds 1 --processes 2 --out history", "backup dump.rdb", "export --out other.rdb"] {
        let (code, said) = kv(&cluster, words, Some("secret"));
        assert_eq!(code, Some(0), "{words}: {said}");
    }
    let (code, said) = kv(&cluster, "import --rdb dump.rdb --password-file password", None);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = kv(&cluster, "restore dump.rdb", Some("secret"));
    assert!(code == Some(1) && said.contains("keys already"), "{said}");

    // Without a certificate, or with one of another authority, nothing but the status is told.
    certs(&cluster, "other");
    let shown = "--cert other/client.pem --key other/client.key";
    let (code, said) = kv(&cluster, &format!("backup nothing.rdb {shown}"), Some("secret"));
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = kv(&cluster, "status --cacert other/ca.pem", None);
    assert_eq!(code, Some(1), "{said}");
    let shown = "--cacert certs/ca.pem --cert certs/client.pem --key certs/client.key";
    let (code, said) = kv(&cluster, &format!("backup again.rdb {shown}"), Some("secret"));
    assert_eq!(code, Some(0), "{said}");
    for id in cluster.ids() {
        fs::remove_file(cluster.folder().join(format!("certs/node-{id}.key"))).unwrap();
    }
    let (code, said) = kv(&cluster, "backup nothing.rdb", Some("secret"));
    assert!(code == Some(1) && said.contains("a certificate is needed"), "{said}");
    assert_eq!(kv(&cluster, "status", None).0, Some(0));
}
