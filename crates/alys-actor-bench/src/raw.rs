//! The floor: a tokio task with an mpsc channel and oneshot replies, as written by hand.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State};

/// Under test.
pub struct Raw;

/// What the task takes.
pub enum Msg {
    /// Do something.
    Act(Act),
    /// Answer the sum.
    Get(oneshot::Sender<u64>),
    /// Panic with the request in hand.
    Panic(oneshot::Sender<u64>),
    /// Ask the first to ask the next.
    Relay(Vec<Addr>, oneshot::Sender<u64>),
}

/// The sending half, and the task.
#[derive(Clone)]
pub struct Addr {
    sender: mpsc::Sender<Msg>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// Same capacity as the default of `alys-actor`.
const CAPACITY: usize = 1024;

async fn serve(receiver: &mut mpsc::Receiver<Msg>, plan: Plan) {
    plan.start();
    let mut state = State::new(plan);
    while let Some(message) = receiver.recv().await {
        match message {
            Msg::Act(act) => {
                if let Some(time) = state.act(act) {
                    tokio::time::sleep(time).await;
                }
            }
            Msg::Get(reply) => drop(reply.send(state.sum)),
            Msg::Panic(_reply) => panic!("as told"),
            Msg::Relay(mut others, reply) => {
                if others.is_empty() {
                    let _ = reply.send(state.sum);
                } else {
                    let next = others.remove(0);
                    if let Ok(sum) = Raw::relay(&next, others).await {
                        let _ = reply.send(sum);
                    }
                }
            }
        }
    }
    state.plan.stop();
}

impl Framework for Raw {
    const NAME: &'static str = "tokio mpsc + oneshot";
    type Tree = ();
    type Addr = Addr;

    fn offers(feature: Feature) -> bool {
        match feature {
            // A loop around a caught panic, with the receiver outside of it.
            Feature::Restart | Feature::Stop => true,
            Feature::Groups | Feature::Intensity | Feature::Drain => false,
        }
    }

    async fn tree(_: Spec) {}

    async fn add((): &(), plan: Plan) -> Addr {
        let (sender, mut receiver) = mpsc::channel(CAPACITY);
        let task = tokio::spawn(async move {
            while AssertUnwindSafe(serve(&mut receiver, plan.clone())).catch_unwind().await.is_err() {}
        });
        Addr { sender, task: Arc::new(Mutex::new(Some(task))) }
    }

    async fn tell(addr: &Addr, act: Act) -> bool {
        addr.sender.send(Msg::Act(act)).await.is_ok()
    }

    async fn ask(addr: &Addr) -> Result<u64, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        addr.sender.send(Msg::Get(reply)).await.map_err(|_| NoAnswer)?;
        answer.await.map_err(|_| NoAnswer)
    }

    async fn ask_panic(addr: &Addr) -> Result<u64, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        addr.sender.send(Msg::Panic(reply)).await.map_err(|_| NoAnswer)?;
        answer.await.map_err(|_| NoAnswer)
    }

    async fn relay(addr: &Addr, others: Vec<Addr>) -> Result<u64, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        addr.sender.send(Msg::Relay(others, reply)).await.map_err(|_| NoAnswer)?;
        answer.await.map_err(|_| NoAnswer)
    }

    async fn stop((): &(), addr: &Addr) {
        let task = addr.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    async fn busy((): &(), _: Duration) {}

    fn gave_up((): &()) -> bool {
        false
    }

    async fn shutdown((): ()) {}
}
