//! Probes, recovery and the watchdog, on paused time.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_actor::{
    Actor, Addr, AskError, Child, Context, Health, Message, Probe, Recovery, Reply, StartCause, Supervisor, System,
    TellError, Threshold,
};

#[derive(Debug)]
enum Msg {
    Health(Health),
    Memory(u64),
    Errors(u32),
    Idle,
    Essential(Reply<()>),
    Sleep(Duration),
    Panic,
}

impl Message for Msg {
    fn is_essential(&self) -> bool {
        !matches!(self, Self::Idle)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Sleep(_) => "sleep",
            Self::Health(_) | Self::Memory(_) | Self::Errors(_) | Self::Idle | Self::Essential(_) | Self::Panic => {
                "other"
            }
        }
    }
}

struct Patient(Arc<Mutex<Vec<StartCause>>>);

impl Actor for Patient {
    type Message = Msg;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), Infallible> {
        self.0.lock().unwrap().push(ctx.start_cause().clone());
        Ok(())
    }

    async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Health(health) => ctx.set_health(health),
            Msg::Memory(bytes) => ctx.set_memory(bytes),
            Msg::Errors(n) => (0..n).for_each(|_| ctx.count_error()),
            Msg::Idle => {}
            Msg::Essential(reply) => reply.send(()),
            Msg::Sleep(d) => tokio::time::sleep(d).await,
            Msg::Panic => panic!("as told"),
        }
        Ok(())
    }
}

type Causes = Arc<Mutex<Vec<StartCause>>>;

async fn start(change: impl FnOnce(Child<Patient>) -> Child<Patient>) -> (System, Addr<Msg>, Causes) {
    let causes = Causes::default();
    let mut root = Supervisor::new("root");
    let addr = root.add(change(Child::new("a", {
        let causes = Arc::clone(&causes);
        move || Patient(Arc::clone(&causes))
    })));
    (System::builder("test").start(root).await.unwrap(), addr, causes)
}

fn health(system: &System) -> Health {
    system.tree().get("root/a").unwrap().health.clone()
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_judges_after_its_patience_and_heals() {
    let probe = Probe { memory_bytes: Some(Threshold { degraded: 10, failed: 100 }), patience: 3, ..Probe::default() };
    let (system, addr, _) = start(|c| c.probe(probe)).await;
    addr.tell(Msg::Memory(10)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(health(&system), Health::Healthy);
    seconds(1).await;
    assert_eq!(health(&system), Health::Degraded("memory bytes 10".into()));
    addr.tell(Msg::Memory(1)).await.unwrap();
    seconds(1).await;
    assert_eq!(health(&system), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_errors_is_seen() {
    let probe = Probe { errors_permille: Some(Threshold { degraded: 500, failed: 2000 }), ..Probe::default() };
    let (system, addr, _) = start(|c| c.probe(probe)).await;
    addr.tell(Msg::Errors(1)).await.unwrap();
    addr.tell(Msg::Idle).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(health(&system), Health::Degraded("errors per thousand 500".into()));
    seconds(1).await;
    assert_eq!(health(&system), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn failed_health_restarts_once_if_the_policy_says_so() {
    let (system, addr, causes) = start(|c| c.recovery(Recovery::Restart)).await;
    addr.tell(Msg::Health(Health::Failed("ill".into()))).await.unwrap();
    seconds(10).await;
    assert_eq!(causes.lock().unwrap().len(), 2);
    assert_eq!(health(&system), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_always_fails_uses_up_the_restarts() {
    let probe = Probe { depth: Some(Threshold { degraded: 0, failed: 0 }), ..Probe::default() };
    let (system, _addr, causes) = start(|c| c.probe(probe).recovery(Recovery::Restart)).await;
    assert!(system.ended().await.is_failure());
    assert_eq!(causes.lock().unwrap().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn restore_asks_for_an_older_checkpoint_from_the_second_crash_in_a_row() {
    let (_system, addr, causes) = start(|c| c.recovery(Recovery::Restore)).await;
    for _ in 0..2 {
        addr.tell(Msg::Panic).await.unwrap();
        seconds(1).await;
    }
    let causes: Vec<_> = causes.lock().unwrap().iter().map(|c| matches!(c, StartCause::Restore(_))).collect();
    assert_eq!(causes, [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_degraded_actor_takes_essential_messages_only() {
    let (_system, addr, _) = start(|c| c.recovery(Recovery::Degraded)).await;
    addr.tell(Msg::Health(Health::Failed("ill".into()))).await.unwrap();
    seconds(2).await;
    assert!(matches!(addr.tell(Msg::Idle).await, Err(TellError::Restarting(Msg::Idle))));
    assert_eq!(addr.ask(Msg::Essential).await, Ok(()));
    addr.tell(Msg::Health(Health::Healthy)).await.unwrap();
    seconds(2).await;
    addr.tell(Msg::Idle).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn gradual_recovery_lets_in_a_growing_share() {
    let (_system, addr, _) = start(|c| c.recovery(Recovery::Gradual { over: Duration::from_secs(10) })).await;
    addr.tell(Msg::Panic).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut shares = Vec::new();
    for _ in 0..5 {
        let mut taken = 0;
        for _ in 0..100 {
            taken += u32::from(addr.tell(Msg::Idle).await.is_ok());
        }
        shares.push(taken);
        tokio::time::sleep(Duration::from_millis(2500)).await;
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!((shares[0], shares[2], shares[4]), (0, 50, 100));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_names_a_stuck_handler() {
    let (system, addr, _) = start(|c| c).await;
    addr.tell(Msg::Sleep(Duration::from_secs(60))).await.unwrap();
    seconds(30).await;
    let Health::Degraded(why) = health(&system) else { panic!("not seen") };
    assert!(why.starts_with("in the handler of sleep for 2"), "{why}");
    seconds(40).await;
    assert_eq!(health(&system), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn an_expired_request_is_not_handled() {
    let (system, addr, _) = start(|c| c).await;
    addr.tell(Msg::Sleep(Duration::from_secs(5))).await.unwrap();
    assert_eq!(addr.ask_within(Duration::from_secs(1), Msg::Essential).await, Err(AskError::TimedOut));
    drop(addr.ask(Msg::Essential));
    seconds(10).await;
    assert_eq!(system.tree().get("root/a").unwrap().handled, 1);
}
