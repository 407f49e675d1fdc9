//! What must not hang, leak or lose: panics in every phase, storms, crowds and full inboxes; on paused time.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use alys_actor::{
    Actor, AskError, Backoff, Child, Context, Exit, HandlerFailure, Message, Reply, RestartPolicy, Supervisor, System,
    TellError,
};

#[derive(Clone, Copy, PartialEq)]
enum When {
    Factory,
    Start,
    Handle,
    Stop,
    Drop,
    Never,
}

#[derive(Debug)]
enum Msg {
    Work,
    Get(Reply<u32>),
    Hold(tokio::sync::oneshot::Receiver<()>),
}

impl Message for Msg {}

struct Fragile {
    when: When,
    worked: Arc<AtomicU32>,
    alive: Arc<AtomicUsize>,
}

impl Actor for Fragile {
    type Message = Msg;
    type Error = Infallible;

    async fn started(&mut self, _: &mut Context<Msg>) -> Result<(), Infallible> {
        assert!(self.when != When::Start, "in start");
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Work => {
                self.worked.fetch_add(1, Ordering::SeqCst);
            }
            Msg::Get(reply) => {
                assert!(self.when != When::Handle, "while holding a reply");
                reply.send(self.worked.load(Ordering::SeqCst));
            }
            Msg::Hold(until) => drop(until.await),
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Msg>) {
        assert!(self.when != When::Stop, "in stop");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
        assert!(self.when != When::Drop, "in drop");
    }
}

type Counts = (Arc<AtomicU32>, Arc<AtomicUsize>);

fn child(name: &str, when: When, (worked, alive): &Counts) -> Child<Fragile> {
    let (worked, alive) = (Arc::clone(worked), Arc::clone(alive));
    Child::new(name, move || {
        assert!(when != When::Factory, "in the factory");
        alive.fetch_add(1, Ordering::SeqCst);
        Fragile { when, worked: Arc::clone(&worked), alive: Arc::clone(&alive) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_any_phase_neither_hangs_nor_leaks() {
    for when in [When::Factory, When::Start] {
        let counts = Counts::default();
        let mut root = Supervisor::new("root").backoff(Backoff::NONE);
        let addr = root.add(child("a", when, &counts));
        addr.try_tell(Msg::Work).unwrap();
        assert!(System::builder("test").start(root).await.is_err());
        assert!(addr.is_stopped());
        assert_eq!(counts.1.load(Ordering::SeqCst), 0);
    }
    for when in [When::Handle, When::Stop, When::Drop] {
        let counts = Counts::default();
        let mut root = Supervisor::new("root");
        let addr = root.add(child("a", when, &counts));
        let system = System::builder("test").start(root).await.unwrap();
        for _ in 0..3 {
            addr.tell(Msg::Work).await.unwrap();
        }
        let got = addr.ask(Msg::Get).await;
        let expected = if when == When::Handle { Err(AskError::Failed(HandlerFailure::Panicked)) } else { Ok(3) };
        assert_eq!(got, expected);
        system.shutdown().await;
        assert_eq!(counts.1.load(Ordering::SeqCst), 0);
        assert_eq!(counts.0.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_restarts_escalates_and_answers_everybody() {
    let counts = Counts::default();
    let mut root = Supervisor::new("root");
    let addr = root.add(child("a", When::Handle, &counts));
    let system = System::builder("test").start(root).await.unwrap();
    let asks: Vec<_> = (0..50).map(|_| addr.ask(Msg::Get)).collect();
    let answers = futures::future::join_all(asks).await;
    assert!(answers.iter().all(Result::is_err));
    assert!(matches!(system.ended().await, Exit::Escalated { .. }));
    assert_eq!(counts.1.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_actors_go_at_once() {
    let counts = Counts::default();
    let root = Supervisor::new("root");
    let handle = root.handle();
    let system = System::builder("test").start(root).await.unwrap();
    for i in 0..10_000 {
        let one = child(&i.to_string(), When::Never, &counts).restart(RestartPolicy::Temporary);
        handle.add(one).unwrap().try_tell(Msg::Work).unwrap();
    }
    assert!(system.shutdown().await.is_clean());
    assert_eq!(counts.0.load(Ordering::SeqCst), 10_000);
    assert_eq!(counts.1.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_is_full_for_an_hour_loses_nothing() {
    let counts = Counts::default();
    let mut root = Supervisor::new("root");
    let addr = root.add(child("a", When::Never, &counts).capacity(4));
    let system = System::builder("test").start(root).await.unwrap();
    let (go, until) = tokio::sync::oneshot::channel();
    addr.tell(Msg::Hold(until)).await.unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let addr = addr.clone();
            tokio::spawn(async move { addr.tell(Msg::Work).await.is_ok() })
        })
        .collect();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(addr.depth(), 4);
    assert!(matches!(addr.try_tell(Msg::Work), Err(TellError::Full(Msg::Work))));
    go.send(()).unwrap();
    for one in waiting {
        assert!(one.await.unwrap());
    }
    assert_eq!(addr.ask(Msg::Get).await, Ok(20));
    assert!(system.shutdown().await.is_clean());
}
