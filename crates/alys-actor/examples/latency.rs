//! What a tell and an ask cost beside a raw tokio channel, in one process and interleaved; medians of nine rounds.
//!
//! `cargo run --release -p alys-actor --example latency`

use std::convert::Infallible;
use std::time::Instant;

use alys_actor::{Actor, Addr, Child, Context, Message, Reply, Supervisor, System};
use tokio::sync::{mpsc, oneshot};

const MESSAGES: u32 = 100_000;
const ROUNDS: usize = 9;
const SENDERS: u32 = 8;

enum Msg {
    Tell(u64),
    Ask(Reply<u64>),
}

impl Message for Msg {}

struct Sum(u64);

impl Actor for Sum {
    type Message = Msg;
    type Error = Infallible;

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Tell(n) => self.0 = self.0.wrapping_add(n),
            Msg::Ask(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

enum Raw {
    Tell(u64),
    Ask(oneshot::Sender<u64>),
}

fn raw() -> mpsc::Sender<Raw> {
    let (sender, mut receiver) = mpsc::channel(1024);
    tokio::spawn(async move {
        let mut sum = 0_u64;
        while let Some(message) = receiver.recv().await {
            match message {
                Raw::Tell(n) => sum = sum.wrapping_add(n),
                Raw::Ask(reply) => drop(reply.send(sum)),
            }
        }
    });
    sender
}

async fn raw_ask(to: &mpsc::Sender<Raw>) {
    let (reply, answer) = oneshot::channel();
    let _ = to.send(Raw::Ask(reply)).await;
    let _ = answer.await;
}

async fn raw_tells(to: mpsc::Sender<Raw>, n: u32) {
    for i in 0..n {
        let _ = to.send(Raw::Tell(i.into())).await;
    }
    raw_ask(&to).await;
}

async fn tells(to: Addr<Msg>, n: u32) {
    for i in 0..n {
        let _ = to.tell(Msg::Tell(i.into())).await;
    }
    let _ = to.ask(Msg::Ask).await;
}

async fn timed(work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_secs_f64() * 1e9 / f64::from(MESSAGES)
}

async fn measure(runtime: &str) {
    let mut root = Supervisor::new("root");
    let addr = root.add(Child::new("sum", || Sum(0)));
    let Ok(system) = System::builder("latency").start(root).await else { return };
    let channel = raw();
    let mut rows = [("ask", Vec::new()), ("tell 1 to 1", Vec::new()), ("tell 8 to 1", Vec::new())];
    for _ in 0..ROUNDS {
        let floor = timed(async {
            for _ in 0..MESSAGES {
                raw_ask(&channel).await;
            }
        });
        let ours = timed(async {
            for _ in 0..MESSAGES {
                let _ = addr.ask(Msg::Ask).await;
            }
        });
        rows[0].1.push((floor.await, ours.await));
        let (floor, ours) = (raw_tells(channel.clone(), MESSAGES), tells(addr.clone(), MESSAGES));
        rows[1].1.push((timed(floor).await, timed(ours).await));
        let floor = timed(async {
            let all: Vec<_> =
                (0..SENDERS).map(|_| tokio::spawn(raw_tells(channel.clone(), MESSAGES / SENDERS))).collect();
            for one in all {
                let _ = one.await;
            }
        });
        let floor = floor.await;
        let ours = timed(async {
            let all: Vec<_> = (0..SENDERS).map(|_| tokio::spawn(tells(addr.clone(), MESSAGES / SENDERS))).collect();
            for one in all {
                let _ = one.await;
            }
        });
        rows[2].1.push((floor, ours.await));
    }
    for (name, rounds) in rows {
        let median = |pick: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(pick).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        let (floor, ours) = (median(|r| r.0), median(|r| r.1));
        println!("| {runtime} | {name} | {floor:.0} | {ours:.0} | {:.2} |", ours / floor);
    }
    system.shutdown().await;
}

fn main() -> std::io::Result<()> {
    println!("| runtime | row | raw tokio, ns | alys-actor, ns | ratio |");
    println!("|---|---|---|---|---|");
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    one.block_on(async { drop(tokio::spawn(measure("current thread")).await) });
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    two.block_on(async { drop(tokio::spawn(measure("two threads")).await) });
    Ok(())
}
