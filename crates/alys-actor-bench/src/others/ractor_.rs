//! The adapter of ractor, which tells an actor of the ends of those spawned under it; what follows is written by the user.
//! Here: a failed child is spawned again, as the crate's own examples do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State};

/// Under test.
pub struct Ractor;

/// What the actor takes.
pub(super) enum Msg {
    /// Do something.
    Act(Act),
    /// Answer the sum.
    Get(RpcReplyPort<u64>),
    /// Panic with the request in hand.
    Panic(RpcReplyPort<u64>),
    /// Ask the first to ask the next.
    Relay(Vec<ActorRef<Msg>>, RpcReplyPort<Option<u64>>),
}

struct Probe;

impl Actor for Probe {
    type Msg = Msg;
    type State = State;
    type Arguments = Plan;

    async fn pre_start(&self, _: ActorRef<Msg>, plan: Plan) -> Result<State, ActorProcessingErr> {
        plan.start();
        Ok(State::new(plan))
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Act(act) => {
                if let Some(time) = state.act(act) {
                    tokio::time::sleep(time).await;
                }
            }
            Msg::Get(reply) => drop(reply.send(state.sum)),
            Msg::Panic(_reply) => panic!("as told"),
            Msg::Relay(mut others, reply) => {
                let answer = if others.is_empty() {
                    Some(state.sum)
                } else {
                    let next = others.remove(0);
                    match next.call(|r| Msg::Relay(others, r), None).await {
                        Ok(CallResult::Success(answer)) => answer,
                        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
                    }
                };
                let _ = reply.send(answer);
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.plan.stop();
        Ok(())
    }
}

type Current = Arc<Mutex<ActorRef<Msg>>>;

/// An address and, for who looks it up again, the one of the newest incarnation.
#[derive(Clone)]
pub struct Addr {
    actor: ActorRef<Msg>,
    current: Current,
}

struct Boss;

enum ToBoss {
    Add(Plan, RpcReplyPort<Addr>),
    Busy(Duration),
}

#[derive(Default)]
struct Children(HashMap<ActorId, (Plan, Current)>);

impl Actor for Boss {
    type Msg = ToBoss;
    type State = Children;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToBoss>, (): ()) -> Result<Children, ActorProcessingErr> {
        Ok(Children::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<ToBoss>,
        message: ToBoss,
        state: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToBoss::Add(plan, reply) => {
                let (actor, _) = Probe::spawn_linked(None, Probe, plan.clone(), myself.get_cell()).await?;
                let current = Arc::new(Mutex::new(actor.clone()));
                state.0.insert(actor.get_id(), (plan, Arc::clone(&current)));
                let _ = reply.send(Addr { actor, current });
            }
            ToBoss::Busy(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ToBoss>,
        event: SupervisionEvent,
        state: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, _) => {
                let Some((plan, current)) = state.0.remove(&who.get_id()) else { return Ok(()) };
                if plan.is_temporary {
                    return Ok(());
                }
                let mut tries = 0;
                let actor = loop {
                    match Probe::spawn_linked(None, Probe, plan.clone(), myself.get_cell()).await {
                        Ok((actor, _)) => break actor,
                        Err(_) if tries < 5 => tries += 1,
                        Err(error) => return Err(error.into()),
                    }
                };
                *current.lock().unwrap_or_else(PoisonError::into_inner) = actor.clone();
                state.0.insert(actor.get_id(), (plan, current));
            }
            SupervisionEvent::ActorTerminated(who, ..) => {
                state.0.remove(&who.get_id());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

/// The supervisor.
pub struct Tree(ActorRef<ToBoss>);

impl Framework for Ractor {
    const NAME: &'static str = "ractor";
    type Tree = Tree;
    type Addr = Addr;

    fn offers(feature: Feature) -> bool {
        match feature {
            Feature::Restart | Feature::Stop | Feature::Drain => true,
            Feature::Groups | Feature::Intensity => false,
        }
    }

    async fn tree(_: Spec) -> Tree {
        match Boss::spawn(None, Boss, ()).await {
            Ok((boss, _)) => Tree(boss),
            Err(error) => panic!("{error}"),
        }
    }

    async fn add(tree: &Tree, plan: Plan) -> Addr {
        match tree.0.call(|reply| ToBoss::Add(plan, reply), None).await {
            Ok(CallResult::Success(addr)) => addr,
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => panic!("not started"),
        }
    }

    fn again(_: &Tree, addr: &Addr) -> Addr {
        let actor = addr.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Addr { actor, current: Arc::clone(&addr.current) }
    }

    // The inbox is unbounded, so there is nothing to wait for.
    async fn tell(addr: &Addr, act: Act) -> bool {
        addr.actor.send_message(Msg::Act(act)).is_ok()
    }

    async fn ask(addr: &Addr) -> Result<u64, NoAnswer> {
        match addr.actor.call(Msg::Get, None).await {
            Ok(CallResult::Success(sum)) => Ok(sum),
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(NoAnswer),
        }
    }

    async fn ask_panic(addr: &Addr) -> Result<u64, NoAnswer> {
        match addr.actor.call(Msg::Panic, None).await {
            Ok(CallResult::Success(sum)) => Ok(sum),
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(NoAnswer),
        }
    }

    async fn relay(addr: &Addr, others: Vec<Addr>) -> Result<u64, NoAnswer> {
        let others = others.into_iter().map(|addr| addr.actor).collect();
        match addr.actor.call(|reply| Msg::Relay(others, reply), None).await {
            Ok(CallResult::Success(sum)) => sum.ok_or(NoAnswer),
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(NoAnswer),
        }
    }

    async fn stop(_: &Tree, addr: &Addr) {
        let _ = addr.actor.stop_and_wait(None, None).await;
    }

    async fn busy(tree: &Tree, time: Duration) {
        let _ = tree.0.send_message(ToBoss::Busy(time));
    }

    fn gave_up(_: &Tree) -> bool {
        false
    }

    async fn shutdown(tree: Tree) {
        tree.0.drain_children_and_wait(None).await;
        let _ = tree.0.stop_and_wait(None, None).await;
    }
}
