//! An actor that does what the test tells it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, reason = "each test binary uses a part of it")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_actor::{Actor, Addr, Builder, Child, Context, Message, Overflow, Reply, Supervisor, System};
use futures::future::BoxFuture;

pub type Now = Box<dyn FnOnce(&mut Puppet, &mut Context<Msg>) + Send>;
pub type Later = Box<dyn for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Msg>) -> BoxFuture<'a, ()> + Send>;

pub enum Msg {
    Now(Now),
    Later(Later),
    Note(u64),
    /// As a note, and safe to handle again.
    Again(u64, Arc<dyn Fn(u64) + Send + Sync>),
    Tick,
    Get(Reply<Vec<u64>>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Now(_) => "now",
            Self::Later(_) => "later",
            Self::Note(_) => "note",
            Self::Again(..) => "again",
            Self::Tick => "tick",
            Self::Get(_) => "get",
        }
    }

    fn overflow(&self) -> Overflow {
        Overflow::Wait
    }

    fn retry(&self) -> Option<Self> {
        match self {
            Self::Again(n, then) => Some(Self::Again(*n, Arc::clone(then))),
            Self::Now(_) | Self::Later(_) | Self::Note(_) | Self::Tick | Self::Get(_) => None,
        }
    }
}

pub fn now(f: impl FnOnce(&mut Puppet, &mut Context<Msg>) + Send + 'static) -> Msg {
    Msg::Now(Box::new(f))
}

pub fn later(
    f: impl for<'a> FnOnce(&'a mut Puppet, &'a mut Context<Msg>) -> BoxFuture<'a, ()> + Send + 'static,
) -> Msg {
    Msg::Later(Box::new(f))
}

/// Asks `of` inside the handler of `who`, and gives what came back.
pub fn asks(
    of: Addr<Msg>,
    request: impl FnOnce(Reply<Vec<u64>>) -> Msg + Send + 'static,
) -> impl FnOnce(Reply<Answer>) -> Msg {
    move |reply| later(move |_, _| Box::pin(async move { reply.send(of.ask(request).await) }))
}

pub type Answer = Result<Vec<u64>, alys_actor::AskError>;

pub type Notes = Arc<Mutex<Vec<u64>>>;

/// Notes outlive incarnations; the rest does not.
pub struct Puppet {
    pub notes: Notes,
    pub kept: Vec<Reply<Vec<u64>>>,
    pub local: u64,
}

impl Actor for Puppet {
    type Message = Msg;
    type Error = Infallible;

    async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Now(f) => f(self, ctx),
            Msg::Later(f) => f(self, ctx).await,
            Msg::Note(n) => self.notes.lock().unwrap().push(n),
            Msg::Again(n, then) => {
                self.notes.lock().unwrap().push(n);
                then(n);
            }
            Msg::Tick => {}
            Msg::Get(reply) => reply.send(self.notes.lock().unwrap().clone()),
        }
        Ok(())
    }
}

pub fn puppet(name: &str) -> Child<Puppet> {
    let notes = Notes::default();
    Child::new(name, move || Puppet { notes: Arc::clone(&notes), kept: Vec::new(), local: 0 })
}

pub async fn start(root: Supervisor) -> System {
    builder().start(root).await.unwrap()
}

pub fn builder() -> Builder {
    System::builder("test")
}

pub async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

/// Tasks of the runtime once all that could end has ended.
pub async fn tasks() -> usize {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
