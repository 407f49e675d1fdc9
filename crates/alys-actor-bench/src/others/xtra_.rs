//! The adapter of xtra, which has no supervisors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use xtra::{Actor, Address, Context, Handler, Mailbox};

use crate::framework::{Act, Feature, Framework, NoAnswer, Plan, Spec, State};

/// Under test.
pub struct Xtra;

/// The actor.
pub(super) struct Probe(State);

impl Actor for Probe {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.0.plan.start();
        Ok(())
    }

    async fn stopped(self) {
        self.0.plan.stop();
    }
}

impl Handler<Act> for Probe {
    type Return = ();

    async fn handle(&mut self, act: Act, _: &mut Context<Self>) {
        if let Some(time) = self.0.act(act) {
            tokio::time::sleep(time).await;
        }
    }
}

struct Get;

impl Handler<Get> for Probe {
    type Return = u64;

    async fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.0.sum
    }
}

struct Crash;

impl Handler<Crash> for Probe {
    type Return = u64;

    async fn handle(&mut self, _: Crash, _: &mut Context<Self>) -> u64 {
        panic!("as told")
    }
}

struct Stop;

impl Handler<Stop> for Probe {
    type Return = ();

    async fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop_self();
    }
}

struct Relay(Vec<Address<Probe>>);

impl Handler<Relay> for Probe {
    type Return = Option<u64>;

    async fn handle(&mut self, message: Relay, _: &mut Context<Self>) -> Option<u64> {
        let mut others = message.0;
        if others.is_empty() {
            return Some(self.0.sum);
        }
        let next = others.remove(0);
        next.send(Relay(others)).await.ok().flatten()
    }
}

/// An address, and the task behind it.
#[derive(Clone)]
pub struct Addr {
    address: Address<Probe>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Framework for Xtra {
    const NAME: &'static str = "xtra";
    type Tree = ();
    type Addr = Addr;

    fn offers(feature: Feature) -> bool {
        match feature {
            Feature::Stop => true,
            Feature::Restart | Feature::Groups | Feature::Intensity | Feature::Drain => false,
        }
    }

    async fn tree(_: Spec) {}

    async fn add((): &(), plan: Plan) -> Addr {
        let (address, mailbox) = Mailbox::bounded(1024);
        let task = tokio::spawn(xtra::run(mailbox, Probe(State::new(plan))));
        Addr { address, task: Arc::new(Mutex::new(Some(task))) }
    }

    async fn tell(addr: &Addr, act: Act) -> bool {
        addr.address.send(act).detach().await.is_ok()
    }

    async fn ask(addr: &Addr) -> Result<u64, NoAnswer> {
        addr.address.send(Get).await.map_err(|_| NoAnswer)
    }

    async fn ask_panic(addr: &Addr) -> Result<u64, NoAnswer> {
        addr.address.send(Crash).await.map_err(|_| NoAnswer)
    }

    async fn relay(addr: &Addr, others: Vec<Addr>) -> Result<u64, NoAnswer> {
        let others = others.into_iter().map(|addr| addr.address).collect();
        addr.address.send(Relay(others)).await.ok().flatten().ok_or(NoAnswer)
    }

    async fn stop((): &(), addr: &Addr) {
        let _ = addr.address.send(Stop).await;
        let task = addr.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    async fn busy((): &(), _: Duration) {}

    fn gave_up((): &()) -> bool {
        false
    }

    async fn shutdown((): ()) {}
}
