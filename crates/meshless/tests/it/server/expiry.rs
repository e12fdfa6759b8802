//! A certificate whose end is near, or past: who is told, and when.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use meshless::{Pem, Server, ServerTlsConfig};
use rcgen::{CertificateParams, KeyPair};

use super::pipes::Piped;
use crate::log::Log;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expires_soon_is_warned_of_at_once_and_once_a_day() {
    let log = Log::default();
    let _guard = log.listen();
    let (chain, key) = certificate(SystemTime::now() + DAY * 3);
    let server = Piped::start(Server::builder().tls(ServerTlsConfig::new(chain, key).unwrap()));
    tokio::time::sleep(DAY * 3 - Duration::from_secs(1)).await;
    let said = warnings(&log);
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said.iter().all(|line| line.contains("certificate expires soon")), "{said:#?}");
    server.shutdown.begin();
    server.ended().await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_told_apart_and_silence_follows_its_renewal() {
    let log = Log::default();
    let _guard = log.listen();
    let folder = tempfile::tempdir().unwrap();
    let file = |name| Pem::file(folder.path().join(name));
    write(folder.path(), certificate(SystemTime::now() - DAY));
    let tls = ServerTlsConfig::new(file("tls.crt"), file("tls.key")).unwrap();
    let kept = tls.clone();
    assert!(kept.not_after().unwrap() < SystemTime::now());
    let server = Piped::start(Server::builder().tls(tls));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = warnings(&log);
    let text = "the server's certificate has expired, and clients refuse it";
    assert!(said.len() == 1 && said[0].contains(text), "{said:#?}");

    write(folder.path(), certificate(SystemTime::now() + DAY * 90));
    tokio::time::sleep(DAY * 2).await;
    assert_eq!(warnings(&log), Vec::<String>::new());
    assert!(kept.not_after().unwrap() > SystemTime::now() + DAY * 89);

    write(folder.path(), certificate(SystemTime::now() + DAY * 2));
    // Some looks: files are read on another thread, which the paused clock may outrun by one.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let said = warnings(&log);
    assert!(said.len() == 1 && said[0].contains("certificate expires soon"), "{said:#?}");
    server.shutdown.begin();
    server.ended().await;
}

#[tokio::test(start_paused = true)]
async fn each_certificate_of_the_chain_is_warned_of_by_its_place() {
    let log = Log::default();
    let _guard = log.listen();
    let now = SystemTime::now();
    let (own, key) = certificate(now + DAY * 3);
    let (valid, expired) = (certificate(now + DAY * 90).0, certificate(now - DAY).0);
    let tls = ServerTlsConfig::new([own, valid, expired].concat(), key).unwrap();
    assert!(tls.not_after().unwrap() < now);
    let server = Piped::start(Server::builder().tls(tls));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = warnings(&log);
    let texts = [
        "the server's certificate expires soon",
        "certificate 3 of the server's chain has expired, and clients may refuse it",
    ];
    assert_eq!(said.len(), texts.len(), "{said:#?}");
    assert!(said.iter().zip(texts).all(|(line, text)| line.contains(text)), "{said:#?}");
    server.shutdown.begin();
    server.ended().await;
}

fn warnings(log: &Log) -> Vec<String> {
    log.take().into_iter().filter(|line| line.starts_with("WARN")).collect()
}

/// A chain and its key.
fn certificate(not_after: SystemTime) -> (String, String) {
    let mut params = CertificateParams::new(["backend.test".to_owned()]).unwrap();
    params.not_after = not_after.into();
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write(folder: &Path, (chain, key): (String, String)) {
    fs::write(folder.join("tls.crt"), chain).unwrap();
    fs::write(folder.join("tls.key"), key).unwrap();
}
