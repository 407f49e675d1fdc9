//! Who is restarted, in which order, how often and when; on paused time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_actor::{
    Actor, Addr, Backoff, Child, Context, Exit, Message, Phase, Reply, RestartPolicy, StartError, Strategy, Supervisor,
    System,
};

enum Msg {
    Panic,
    Stop,
    Ping(Reply<()>),
}

impl Message for Msg {}

type Log = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct Probe {
    name: &'static str,
    log: Log,
    fail_starts: Arc<Mutex<u32>>,
}

impl Probe {
    fn note(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Actor for Probe {
    type Message = Msg;
    type Error = std::io::Error;

    async fn started(&mut self, _: &mut Context<Msg>) -> Result<(), Self::Error> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut left = self.fail_starts.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(std::io::Error::other("not yet"));
        }
        drop(left);
        self.note("start");
        Ok(())
    }

    async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Self::Error> {
        match message {
            Msg::Panic => panic!("as told"),
            Msg::Stop => ctx.stop(),
            Msg::Ping(reply) => reply.send(()),
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Msg>) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.note("stop");
    }
}

fn child(name: &'static str, log: &Log) -> Child<Probe> {
    failing(name, log, 0)
}

fn failing(name: &'static str, log: &Log, times: u32) -> Child<Probe> {
    let probe = Probe { name, log: Arc::clone(log), fail_starts: Arc::new(Mutex::new(times)) };
    Child::new(name, move || probe.clone())
}

async fn ping(addr: &Addr<Msg>) {
    addr.ask(Msg::Ping).await.unwrap();
}

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

async fn restarted(strategy: Strategy) -> Vec<String> {
    let log = Log::default();
    let mut root = Supervisor::new("root").strategy(strategy);
    let _a = root.add(child("a", &log));
    let b = root.add(child("b", &log));
    let c = root.add(child("c", &log));
    let system = System::builder("test").start(root).await.unwrap();
    assert_eq!(take(&log), ["start a", "start b", "start c"]);
    b.tell(Msg::Panic).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ping(&c).await;
    let events = take(&log);
    assert!(system.shutdown().await.is_clean());
    assert_eq!(take(&log), ["stop c", "stop b", "stop a"]);
    events
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_that_one() {
    assert_eq!(restarted(Strategy::OneForOne).await, ["start b"]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_restarts_all_in_start_order() {
    assert_eq!(restarted(Strategy::OneForAll).await, ["stop c", "stop a", "start a", "start b", "start c"]);
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_restarts_those_declared_after() {
    assert_eq!(restarted(Strategy::RestForOne).await, ["stop c", "start b", "start c"]);
}

#[tokio::test(start_paused = true)]
async fn policies_decide_which_ends_are_followed() {
    for (policy, after_stop, after_panic) in [
        (RestartPolicy::Permanent, Phase::Running, Phase::Running),
        (RestartPolicy::Transient, Phase::Stopped, Phase::Running),
        (RestartPolicy::Temporary, Phase::Stopped, Phase::Stopped),
    ] {
        for (message, expected) in [(Msg::Stop, after_stop), (Msg::Panic, after_panic)] {
            let log = Log::default();
            let mut root = Supervisor::new("root");
            let a = root.add(child("a", &log).restart(policy));
            let system = System::builder("test").start(root).await.unwrap();
            a.tell(message).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(system.tree().get("root/a").unwrap().state, expected, "{policy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_intensity_window_slides() {
    let log = Log::default();
    let mut root = Supervisor::new("root").intensity(2, Duration::from_secs(10)).backoff(Backoff::NONE);
    let a = root.add(child("a", &log));
    let system = System::builder("test").start(root).await.unwrap();
    // Never three within ten seconds.
    for _ in 0..10 {
        a.tell(Msg::Panic).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5100)).await;
    }
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 10);
    for _ in 0..2 {
        a.tell(Msg::Panic).await.unwrap();
    }
    let Exit::Escalated { child, cause } = system.ended().await else { panic!("not escalated") };
    assert_eq!(child, "root/a");
    assert!(matches!(*cause, Exit::Panicked(_)));
}

#[tokio::test(start_paused = true)]
async fn an_escalation_restarts_the_subtree_with_its_inboxes() {
    let log = Log::default();
    let mut sub = Supervisor::new("sub").intensity(0, Duration::from_secs(10));
    let a = sub.add(child("a", &log));
    let _b = sub.add(child("b", &log));
    let mut root = Supervisor::new("root");
    root.supervisor(sub);
    let system = System::builder("test").start(root).await.unwrap();
    take(&log);
    a.tell(Msg::Panic).await.unwrap();
    ping(&a).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(take(&log), ["stop b", "start a", "start b"]);
    let tree = system.tree();
    assert_eq!(tree.get("root/sub").unwrap().restarts, 1);
    assert!(system.shutdown().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_tried_again_later_and_siblings_wait_for_it() {
    let log = Log::default();
    let mut root = Supervisor::new("root").backoff(Backoff { jitter_permille: 0, free: 0, ..Backoff::default() });
    root.add(failing("a", &log, 2));
    root.add(child("b", &log));
    let began = tokio::time::Instant::now();
    let system = System::builder("test").start(root).await.unwrap();
    // Two pauses of 50 and 100 ms, four starts of 10 ms, two goodbyes of 10 ms.
    assert_eq!(began.elapsed(), Duration::from_millis(210));
    assert_eq!(take(&log), ["stop a", "stop a", "start a", "start b"]);
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_gives_up_at_the_start_is_an_error_and_stops_what_ran() {
    let log = Log::default();
    let mut root = Supervisor::new("root").backoff(Backoff::NONE);
    root.add(child("a", &log));
    root.add(failing("b", &log, u32::MAX));
    let Err(StartError::GaveUp(Exit::Escalated { child, cause })) = System::builder("test").start(root).await else {
        panic!("started");
    };
    assert_eq!((child.as_str(), *cause), ("root/b", Exit::StartFailed("not yet".into())));
    // `b` says goodbye after each failed start as well.
    let log = take(&log);
    assert_eq!((log.first().unwrap().as_str(), log.last().unwrap().as_str()), ("start a", "stop a"));
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_among_siblings() {
    let log = Log::default();
    let mut root = Supervisor::new("root");
    root.add(child("a", &log));
    root.add(child("a", &log));
    let error = System::builder("test").start(root).await.err();
    assert_eq!(error, Some(StartError::DuplicateName("a".into())));
}

#[tokio::test(start_paused = true)]
async fn a_critical_failure_ends_the_system_in_order() {
    let log = Log::default();
    let mut root = Supervisor::new("root");
    root.add(child("a", &log));
    let b = root.add(child("b", &log).critical());
    root.add(child("c", &log));
    let system = System::builder("test").start(root).await.unwrap();
    take(&log);
    b.tell(Msg::Panic).await.unwrap();
    let exit = system.ended().await;
    assert!(matches!(exit, Exit::Escalated { child, .. } if child == "root/b"));
    assert_eq!(take(&log), ["stop c", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn children_come_and_go_at_run_time() {
    let log = Log::default();
    let root = Supervisor::new("root");
    let handle = root.handle();
    assert!(handle.add(child("early", &log)).is_err());
    let system = System::builder("test").start(root).await.unwrap();
    let a = handle.add(child("a", &log)).unwrap();
    ping(&a).await;
    assert!(handle.add(child("a", &log)).is_err());
    assert_eq!(system.registry().get::<Msg>("root/a").unwrap(), a);
    handle.stop("a").unwrap();
    a.stopped().await;
    handle.add(child("a", &log)).unwrap();
    assert_eq!(take(&log), ["start a", "stop a"]);
    assert!(system.shutdown().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_backoff_still_handles_what_waits() {
    let log = Log::default();
    let mut root =
        Supervisor::new("root").backoff(Backoff { free: 0, base: Duration::from_hours(1), ..Backoff::default() });
    let a = root.add(child("a", &log));
    let system = System::builder("test").start(root).await.unwrap();
    a.tell(Msg::Panic).await.unwrap();
    let pinged = a.ask(Msg::Ping);
    let (pinged, report) = tokio::join!(pinged, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(system.tree().get("root/a").unwrap().state, Phase::Restarting);
        system.shutdown().await
    });
    assert_eq!(pinged, Ok(()));
    assert!(report.took < Duration::from_secs(1));
    assert_eq!(take(&log), ["start a", "start a", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn suspended_actors_handle_nothing_until_resumed() {
    let log = Log::default();
    let mut root = Supervisor::new("root");
    let a = root.add(child("a", &log));
    let handle = root.handle();
    let system = System::builder("test").start(root).await.unwrap();
    handle.suspend("a").unwrap();
    tokio::task::yield_now().await;
    let pinged = a.ask_within(Duration::from_secs(10), Msg::Ping).await;
    assert_eq!(pinged, Err(alys_actor::AskError::TimedOut));
    assert_eq!(system.tree().get("root/a").unwrap().state, Phase::Suspended);
    handle.resume("a").unwrap();
    ping(&a).await;
    handle.restart("a").unwrap();
    ping(&a).await;
    assert_eq!(take(&log), ["start a", "stop a", "start a"]);
}
