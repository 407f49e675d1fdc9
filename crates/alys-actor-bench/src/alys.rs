//! The adapter of `alys-actor`.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alys_actor as a;
use alys_actor::{Addr, Child, Context, Message, Reply, RestartPolicy, Supervisor, SupervisorHandle, System};

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State, Strategy};

/// Under test.
pub struct Alys;

/// What the actor takes.
pub enum Msg {
    /// Do something.
    Act(Act),
    /// Answer the sum.
    Get(Reply<u64>),
    /// Panic with the request in hand.
    Panic(Reply<u64>),
    /// Ask the first to ask the next.
    Relay(Vec<Addr<Msg>>, Reply<Result<u64, NoAnswer>>),
}

impl Message for Msg {}

struct Probe(State);

impl a::Actor for Probe {
    type Message = Msg;
    type Error = Infallible;

    async fn started(&mut self, _: &mut Context<Msg>) -> Result<(), Infallible> {
        self.0.plan.start();
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Act(act) => {
                if let Some(time) = self.0.act(act) {
                    tokio::time::sleep(time).await;
                }
            }
            Msg::Get(reply) => reply.send(self.0.sum),
            Msg::Panic(_reply) => panic!("as told"),
            Msg::Relay(mut others, reply) => {
                let answer = if others.is_empty() {
                    Ok(self.0.sum)
                } else {
                    let next = others.remove(0);
                    next.ask(|r| Msg::Relay(others, r)).await.unwrap_or(Err(NoAnswer))
                };
                reply.send(answer);
            }
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Msg>) {
        self.0.plan.stop();
    }
}

/// A system whose root is the supervisor.
pub struct Tree {
    system: System,
    children: SupervisorHandle,
    next: AtomicU64,
}

impl Framework for Alys {
    const NAME: &'static str = "alys-actor";
    type Tree = Tree;
    type Addr = Addr<Msg>;

    fn offers(_: Feature) -> bool {
        true
    }

    async fn tree(spec: Spec) -> Tree {
        let strategy = match spec.strategy {
            Strategy::OneForOne => a::Strategy::OneForOne,
            Strategy::OneForAll => a::Strategy::OneForAll,
            Strategy::RestForOne => a::Strategy::RestForOne,
        };
        let root = Supervisor::new("root")
            .strategy(strategy)
            .intensity(spec.max_restarts, spec.window)
            .backoff(a::Backoff::NONE);
        let children = root.handle();
        match System::builder("bench").start(root).await {
            Ok(system) => Tree { system, children, next: AtomicU64::new(0) },
            Err(error) => panic!("{error}"),
        }
    }

    async fn add(tree: &Tree, plan: Plan) -> Addr<Msg> {
        let name = tree.next.fetch_add(1, Ordering::Relaxed).to_string();
        let policy = if plan.is_temporary { RestartPolicy::Temporary } else { RestartPolicy::Permanent };
        match tree.children.add(Child::new(name, move || Probe(State::new(plan.clone()))).restart(policy)) {
            Ok(addr) => addr,
            Err(error) => panic!("{error}"),
        }
    }

    async fn tell(addr: &Addr<Msg>, act: Act) -> bool {
        addr.tell(Msg::Act(act)).await.is_ok()
    }

    async fn ask(addr: &Addr<Msg>) -> Result<u64, NoAnswer> {
        addr.ask(Msg::Get).await.map_err(|_| NoAnswer)
    }

    async fn ask_panic(addr: &Addr<Msg>) -> Result<u64, NoAnswer> {
        addr.ask(Msg::Panic).await.map_err(|_| NoAnswer)
    }

    async fn relay(addr: &Addr<Msg>, others: Vec<Addr<Msg>>) -> Result<u64, NoAnswer> {
        addr.ask(|reply| Msg::Relay(others, reply)).await.unwrap_or(Err(NoAnswer))
    }

    async fn stop(tree: &Tree, addr: &Addr<Msg>) {
        let path = addr.path();
        if let Some((_, name)) = path.rsplit_once('/') {
            let _ = tree.children.stop(name);
        }
        addr.stopped().await;
    }

    /// Supervisors run no code of the user's: there is nothing to be busy with.
    async fn busy(_: &Tree, _: Duration) {}

    fn gave_up(tree: &Tree) -> bool {
        tree.system.tree().root.state == a::Phase::Stopped
    }

    async fn shutdown(tree: Tree) {
        tree.system.shutdown().await;
    }
}
