//! The attacker, a process of its own that the system runs only when nobody else wants to (`nice`):
//! elsewhere it would have its own processor.
//!
//! It strikes at the server, or at a socket of its own that swallows everything: then it takes as
//! much from the machine, and nothing from the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use meshless_core::CLIENT_PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::attacks::{ATTACKS, Attack};

/// The attacker's process, which is this program again.
pub(super) struct Attacker {
    process: Child,
}

impl Attacker {
    pub(super) fn start(attack: &Attack) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new("nice");
        process.args(["-n", "19"]).arg(program).env(ATTACK, attack.name);
        let process = process
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`nice` is there, and this program can be run again");
        Self { process }
    }

    /// Where to strike from now on.
    pub(super) fn order(&mut self, order: Order) {
        let stdin = self.process.stdin.as_mut().expect("it is piped");
        let line = match order {
            Order::Rest => "rest".to_owned(),
            Order::Void => "void".to_owned(),
            Order::Server(address) => address.to_string(),
        };
        writeln!(stdin, "{line}").expect("the attacker listens");
    }

    /// How often it sent what it sends, and came back.
    pub(super) fn stop(mut self) -> (u64, u64) {
        drop(self.process.stdin.take());
        let mut line = String::new();
        let mut output = BufReader::new(self.process.stdout.take().expect("it is piped"));
        output.read_line(&mut line).expect("it says what it did");
        self.process.wait().expect("it ends");
        let mut counts = line.split_whitespace().map(|count| count.parse().expect("it says numbers"));
        (counts.next().unwrap_or(0), counts.next().unwrap_or(0))
    }
}

/// What the attacker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rest,
    Void,
    Server(SocketAddr),
}

/// What that process does until its stdin closes.
pub(super) fn attack(name: &str) {
    let attack = ATTACKS.iter().find(|attack| attack.name == name).expect("an attack of the list");
    let void = void();
    let (order, orders) = tokio::sync::watch::channel(Order::Rest);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            order.send_replace(match line.as_str() {
                "rest" => Order::Rest,
                "void" => Order::Server(void),
                server => Order::Server(server.parse().expect("an address")),
            });
        }
    });
    let (sent, connects) = (Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..attack.connections {
            all.spawn(strike_at(attack, void, orders.clone(), sent.clone(), connects.clone()));
        }
        // None, or all: they end with the orders.
        let mut orders = orders;
        while orders.changed().await.is_ok() {}
        all.join_all().await;
    });
    let reconnects = connects.load(Ordering::Relaxed).saturating_sub(attack.connections);
    println!("{} {reconnects}", sent.load(Ordering::Relaxed));
}

type Orders = tokio::sync::watch::Receiver<Order>;

async fn strike_at(
    attack: &'static Attack,
    void: SocketAddr,
    mut orders: Orders,
    sent: Arc<AtomicU64>,
    connects: Arc<AtomicUsize>,
) {
    loop {
        let order = *orders.borrow_and_update();
        let Order::Server(server) = order else {
            match orders.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        if orders.has_changed().is_err() {
            return;
        }
        let counts = (server != void).then_some(&*sent);
        connects.fetch_add(counts.is_some().into(), Ordering::Relaxed);
        // However it ends, the next one follows.
        let _ = strike(attack, server, orders.clone(), counts).await;
    }
}

async fn strike(
    attack: &Attack,
    server: SocketAddr,
    mut orders: Orders,
    sent: Option<&AtomicU64>,
) -> std::io::Result<()> {
    let (mut read, mut write) = TcpStream::connect(server).await?.into_split();
    let ended = tokio::spawn(async move {
        let mut discarded = vec![0; 65_536];
        while read.read(&mut discarded).await.is_ok_and(|bytes| bytes > 0) {}
    });
    let opening = (attack.opening)();
    if !opening.is_empty() {
        write.write_all(CLIENT_PREFACE).await?;
        write.write_all(&opening).await?;
    }
    let mut number = 0;
    while orders.has_changed().is_ok_and(|changed| !changed) && !ended.is_finished() {
        if number >= attack.times {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let batch = if attack.pause.is_zero() { 64 } else { 1 };
        let bytes: Vec<u8> = (number..number + batch).flat_map(attack.each).collect();
        tokio::select! {
            written = write.write_all(&bytes) => written?,
            // From a server that no longer reads, too.
            _ = orders.changed() => break,
        }
        number += batch;
        if let Some(sent) = sent {
            sent.fetch_add(u64::from(batch), Ordering::Relaxed);
        }
        if attack.pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(attack.pause).await;
        }
    }
    ended.abort();
    Ok(())
}

/// A socket that swallows everything.
fn void() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut connection, mut swallowed) = (connection, [0; 65_536]);
                while connection.read(&mut swallowed).is_ok_and(|bytes| bytes > 0) {}
            });
        }
    });
    address
}

/// Asks this program to be the attacker, by the name of an attack.
pub(super) const ATTACK: &str = "HOSTILE_ATTACK";
