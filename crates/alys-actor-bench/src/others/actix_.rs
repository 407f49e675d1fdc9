//! The adapter of actix, whose actors are bound to the thread of an arbiter.

use std::sync::OnceLock;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, Addr, Arbiter, ArbiterHandle, AtomicResponse, Context, Handler,
    Message, Supervised, Supervisor,
};

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State};
use crate::host::{Host, Threads};

/// Under test.
pub struct Actix;

/// The actor. Its plan is all that a restart begins with, since the value stays.
pub struct Probe(State);

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1024);
        self.0.plan.start();
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.0.plan.stop();
    }
}

impl Supervised for Probe {}

/// What is done without waiting.
pub struct Do(Act);

impl Message for Do {
    type Result = ();
}

impl Handler<Do> for Probe {
    type Result = ();

    fn handle(&mut self, message: Do, _: &mut Context<Self>) {
        self.0.act(message.0);
    }
}

struct Nap(Duration);

impl Message for Nap {
    type Result = ();
}

impl Handler<Nap> for Probe {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, message: Nap, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(wrap_future(tokio::time::sleep(message.0))))
    }
}

struct Get;

impl Message for Get {
    type Result = u64;
}

impl Handler<Get> for Probe {
    type Result = u64;

    fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.0.sum
    }
}

struct Crash;

impl Message for Crash {
    type Result = u64;
}

impl Handler<Crash> for Probe {
    type Result = u64;

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) -> u64 {
        panic!("as told")
    }
}

struct Stop;

impl Message for Stop {
    type Result = ();
}

impl Handler<Stop> for Probe {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.terminate();
    }
}

struct Relay(Vec<Addr<Probe>>);

impl Message for Relay {
    type Result = Option<u64>;
}

impl Handler<Relay> for Probe {
    // One message at a time, as in the other frameworks.
    type Result = AtomicResponse<Self, Option<u64>>;

    fn handle(&mut self, message: Relay, _: &mut Context<Self>) -> Self::Result {
        let mut others = message.0;
        let sum = self.0.sum;
        let asked = async move {
            if others.is_empty() {
                return Some(sum);
            }
            let next = others.remove(0);
            next.send(Relay(others)).await.ok().flatten()
        };
        AtomicResponse::new(Box::pin(wrap_future::<_, Self>(asked).map(|answer, _, _| answer)))
    }
}

/// Where the actors live: the current thread, or an arbiter's.
pub struct Tree(Option<ArbiterHandle>);

/// One arbiter for all trees, on a thread of its own.
fn arbiter() -> ArbiterHandle {
    static ARBITER: OnceLock<ArbiterHandle> = OnceLock::new();
    ARBITER
        .get_or_init(|| {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let runner = actix::System::new();
                let _ = sender.send(runner.block_on(async { Arbiter::new().handle() }));
                let _ = runner.run();
            });
            match receiver.recv() {
                Ok(handle) => handle,
                Err(error) => panic!("{error}"),
            }
        })
        .clone()
}

impl Framework for Actix {
    const NAME: &'static str = "actix";
    type Tree = Tree;
    type Addr = Addr<Probe>;

    fn offers(feature: Feature) -> bool {
        match feature {
            Feature::Restart | Feature::Stop => true,
            Feature::Groups | Feature::Intensity | Feature::Drain => false,
        }
    }

    fn host(threads: Threads) -> Host {
        match threads {
            Threads::One => Host::local(),
            Threads::Two => Host::plain(threads),
        }
    }

    async fn tree(spec: Spec) -> Tree {
        Tree(match spec.threads {
            Threads::One => None,
            Threads::Two => Some(arbiter()),
        })
    }

    async fn add(tree: &Tree, plan: Plan) -> Addr<Probe> {
        let addr = match (&tree.0, plan.is_temporary) {
            (None, true) => Probe(State::new(plan)).start(),
            (None, false) => Supervisor::start(move |_| Probe(State::new(plan))),
            (Some(arbiter), true) => Probe::start_in_arbiter(arbiter, move |_| Probe(State::new(plan))),
            (Some(arbiter), false) => Supervisor::start_in_arbiter(arbiter, move |_| Probe(State::new(plan))),
        };
        let _ = addr.send(Do(Act::Add(0))).await;
        addr
    }

    async fn tell(addr: &Addr<Probe>, act: Act) -> bool {
        match act {
            Act::Sleep(time) => addr.try_send(Nap(time)).is_ok(),
            Act::Add(_) | Act::Note(_) | Act::Panic => {
                while let Err(error) = addr.try_send(Do(act)) {
                    match error {
                        actix::dev::SendError::Full(_) => tokio::task::yield_now().await,
                        actix::dev::SendError::Closed(_) => return false,
                    }
                }
                true
            }
        }
    }

    async fn ask(addr: &Addr<Probe>) -> Result<u64, NoAnswer> {
        addr.send(Get).await.map_err(|_| NoAnswer)
    }

    async fn ask_panic(addr: &Addr<Probe>) -> Result<u64, NoAnswer> {
        addr.send(Crash).await.map_err(|_| NoAnswer)
    }

    async fn relay(addr: &Addr<Probe>, others: Vec<Addr<Probe>>) -> Result<u64, NoAnswer> {
        addr.send(Relay(others)).await.ok().flatten().ok_or(NoAnswer)
    }

    async fn stop(_: &Tree, addr: &Addr<Probe>) {
        let _ = addr.send(Stop).await;
        while addr.connected() {
            tokio::task::yield_now().await;
        }
    }

    async fn busy(_: &Tree, _: Duration) {}

    fn gave_up(_: &Tree) -> bool {
        false
    }

    async fn shutdown(_: Tree) {}
}
