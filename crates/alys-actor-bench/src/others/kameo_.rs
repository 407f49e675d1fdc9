//! The adapter of kameo, which has supervisors: actors that others are spawned under.

use std::convert::Infallible;
use std::time::Duration;

use kameo::actor::{Actor, ActorRef, Spawn, WeakActorRef};
use kameo::error::ActorStopReason;
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::{RestartPolicy, SupervisionStrategy};

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State, Strategy};

/// Under test.
pub struct Kameo;

/// The actor.
pub struct Probe(State);

impl Actor for Probe {
    type Args = Plan;
    type Error = Infallible;

    async fn on_start(plan: Plan, _: ActorRef<Self>) -> Result<Self, Infallible> {
        plan.start();
        Ok(Self(State::new(plan)))
    }

    async fn on_stop(&mut self, _: WeakActorRef<Self>, _: ActorStopReason) -> Result<(), Infallible> {
        self.0.plan.stop();
        Ok(())
    }
}

impl Message<Act> for Probe {
    type Reply = ();

    async fn handle(&mut self, act: Act, _: &mut Context<Self, ()>) {
        if let Some(time) = self.0.act(act) {
            tokio::time::sleep(time).await;
        }
    }
}

struct Get;

impl Message<Get> for Probe {
    type Reply = u64;

    async fn handle(&mut self, _: Get, _: &mut Context<Self, u64>) -> u64 {
        self.0.sum
    }
}

struct Crash;

impl Message<Crash> for Probe {
    type Reply = u64;

    async fn handle(&mut self, _: Crash, _: &mut Context<Self, u64>) -> u64 {
        panic!("as told")
    }
}

struct Relay(Vec<ActorRef<Probe>>);

impl Message<Relay> for Probe {
    type Reply = Option<u64>;

    async fn handle(&mut self, message: Relay, _: &mut Context<Self, Option<u64>>) -> Option<u64> {
        let mut others = message.0;
        if others.is_empty() {
            return Some(self.0.sum);
        }
        let next = others.remove(0);
        next.ask(Relay(others)).await.ok().flatten()
    }
}

/// A supervisor, whose strategy belongs to its type.
#[derive(Clone)]
pub(super) struct Boss<const STRATEGY: u8>;

impl<const STRATEGY: u8> Actor for Boss<STRATEGY> {
    type Args = Self;
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        match STRATEGY {
            0 => SupervisionStrategy::OneForOne,
            1 => SupervisionStrategy::OneForAll,
            _ => SupervisionStrategy::RestForOne,
        }
    }

    async fn on_start(state: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(state)
    }
}

struct Busy(Duration);

impl<const STRATEGY: u8> Message<Busy> for Boss<STRATEGY> {
    type Reply = ();

    async fn handle(&mut self, message: Busy, _: &mut Context<Self, ()>) {
        tokio::time::sleep(message.0).await;
    }
}

enum Any {
    One(ActorRef<Boss<0>>),
    All(ActorRef<Boss<1>>),
    Rest(ActorRef<Boss<2>>),
}

/// A supervisor and the limits of its children.
pub struct Tree {
    boss: Any,
    spec: Spec,
}

macro_rules! with_boss {
    ($tree:expr, $boss:ident => $do:expr) => {
        match &$tree.boss {
            Any::One($boss) => $do,
            Any::All($boss) => $do,
            Any::Rest($boss) => $do,
        }
    };
}

async fn spawn<const S: u8>(boss: &ActorRef<Boss<S>>, spec: Spec, plan: Plan) -> ActorRef<Probe> {
    let policy = if plan.is_temporary { RestartPolicy::Never } else { RestartPolicy::Permanent };
    let child = Probe::supervise_with(boss, move || plan.clone())
        .restart_policy(policy)
        .restart_limit(spec.max_restarts, spec.window)
        .spawn_with_mailbox(mailbox::bounded(1024))
        .await;
    child.wait_for_startup().await;
    child
}

impl Framework for Kameo {
    const NAME: &'static str = "kameo";
    type Tree = Tree;
    type Addr = ActorRef<Probe>;

    fn offers(_: Feature) -> bool {
        true
    }

    async fn tree(spec: Spec) -> Tree {
        let boss = match spec.strategy {
            Strategy::OneForOne => Any::One(Boss::spawn(Boss)),
            Strategy::OneForAll => Any::All(Boss::spawn(Boss)),
            Strategy::RestForOne => Any::Rest(Boss::spawn(Boss)),
        };
        Tree { boss, spec }
    }

    async fn add(tree: &Tree, plan: Plan) -> ActorRef<Probe> {
        with_boss!(tree, boss => spawn(boss, tree.spec, plan).await)
    }

    async fn tell(addr: &ActorRef<Probe>, act: Act) -> bool {
        addr.tell(act).await.is_ok()
    }

    async fn ask(addr: &ActorRef<Probe>) -> Result<u64, NoAnswer> {
        addr.ask(Get).await.map_err(|_| NoAnswer)
    }

    async fn ask_panic(addr: &ActorRef<Probe>) -> Result<u64, NoAnswer> {
        addr.ask(Crash).await.map_err(|_| NoAnswer)
    }

    async fn relay(addr: &ActorRef<Probe>, others: Vec<ActorRef<Probe>>) -> Result<u64, NoAnswer> {
        addr.ask(Relay(others)).await.ok().flatten().ok_or(NoAnswer)
    }

    async fn stop(_: &Tree, addr: &ActorRef<Probe>) {
        let _ = addr.stop_gracefully().await;
        addr.wait_for_shutdown().await;
    }

    async fn busy(tree: &Tree, time: Duration) {
        with_boss!(tree, boss => drop(boss.tell(Busy(time)).await));
    }

    fn gave_up(tree: &Tree) -> bool {
        with_boss!(tree, boss => !boss.is_alive())
    }

    async fn shutdown(tree: Tree) {
        with_boss!(tree, boss => {
            let _ = boss.stop_gracefully().await;
            boss.wait_for_shutdown().await;
        });
    }
}
