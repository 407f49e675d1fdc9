//! Ends: in the middle of restarts, of panics and of other ends. Nothing hangs, leaks or loses what was acknowledged.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use alys_actor::{
    Actor, AskError, Backoff, Child, Context, DeadReason, Exit, HandlerFailure, RestartPolicy, StartError, Strategy,
    Supervisor, System,
};
use common::{Msg, builder, later, now, puppet, seconds, start, tasks};

const HOUR: Duration = Duration::from_hours(1);

fn slow() -> Backoff {
    Backoff { free: 0, base: HOUR, max: HOUR, ..Backoff::default() }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_waits_for_its_restart_still_handles_what_waits_when_it_is_told_to_stop() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut root = Supervisor::new("root").strategy(strategy).backoff(slow());
        let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
        let system = start(root).await;
        a.tell(now(|_, _| panic!("as told"))).await.unwrap();
        seconds(1).await;
        let (a_says, b_says, report) = tokio::join!(a.ask(Msg::Get), b.ask(Msg::Get), async {
            tokio::task::yield_now().await;
            system.shutdown().await
        });
        assert_eq!((a_says, b_says), (Ok(vec![]), Ok(vec![])), "{strategy:?}");
        assert!(report.is_clean() && report.took < HOUR, "{report:?}");
        assert_eq!(tasks().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subtree_that_waits_for_its_restart_still_handles_what_waits_when_the_system_stops() {
    let mut sub = Supervisor::new("sub").intensity(0, Duration::from_secs(1));
    let [a, b] = ["a", "b"].map(|name| sub.add(puppet(name)));
    let mut root = Supervisor::new("root").backoff(slow());
    root.supervisor(sub);
    let system = start(root).await;
    a.tell(now(|_, _| panic!("as told"))).await.unwrap();
    seconds(1).await;
    assert_eq!(system.tree().get("root/sub").unwrap().state, alys_actor::Phase::Restarting);
    let (a_says, b_says, report) = tokio::join!(a.ask(Msg::Get), b.ask(Msg::Get), async {
        tokio::task::yield_now().await;
        system.shutdown().await
    });
    assert_eq!((a_says, b_says), (Ok(vec![]), Ok(vec![])));
    assert!(report.took < HOUR, "{report:?}");
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_moment_of_a_restarting_group_ends_it() {
    // Starts and stops take 10 ms each, so that the shutdown comes in every state of the sequence.
    struct Slow(Arc<AtomicUsize>);
    impl Actor for Slow {
        type Message = Msg;
        type Error = std::convert::Infallible;
        async fn started(&mut self, _: &mut Context<Msg>) -> Result<(), Self::Error> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(())
        }
        async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Self::Error> {
            if let Msg::Now(_) = message {
                panic!("as told");
            }
            let _ = ctx;
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        async fn stopped(&mut self, _: &mut Context<Msg>) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        for nested in [false, true] {
            for after in (0..90).step_by(5) {
                let handled = Arc::new(AtomicUsize::new(0));
                let child = |name| {
                    let handled = Arc::clone(&handled);
                    Child::new(name, move || Slow(Arc::clone(&handled)))
                };
                let mut group = Supervisor::new("root").strategy(strategy);
                let [a, b, c] = ["a", "b", "c"].map(|name| group.add(child(name)));
                if nested {
                    let mut root = Supervisor::new("top");
                    root.supervisor(group);
                    group = root;
                }
                let system = start(group).await;
                a.tell(now(|_, _| {})).await.unwrap();
                for addr in [&a, &b, &c] {
                    addr.tell(Msg::Tick).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(after)).await;
                let report = system.shutdown().await;
                assert!(report.is_clean(), "after {after} ms: {report:?}");
                assert_eq!(handled.load(Ordering::SeqCst), 3, "after {after} ms");
                assert_eq!(tasks().await, 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_draining_does_not_lose_what_was_acknowledged_after_it() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let system = start(root).await;
    a.tell(later(|_, _| Box::pin(seconds(1)))).await.unwrap();
    a.tell(Msg::Note(1)).await.unwrap();
    a.tell(now(|_, _| panic!("as told"))).await.unwrap();
    a.tell(Msg::Note(2)).await.unwrap();
    let (notes, report) = tokio::join!(a.ask(Msg::Get), async {
        tokio::task::yield_now().await;
        system.shutdown().await
    });
    assert_eq!(notes, Ok(vec![1, 2]));
    assert!(report.killed.is_empty() && report.stuck.is_empty(), "{report:?}");
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn every_message_panicking_while_draining_comes_to_an_end() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let system = start(root).await;
    a.tell(later(|_, _| Box::pin(seconds(1)))).await.unwrap();
    let asks: Vec<_> = (0..50)
        .map(|_| {
            let a = a.clone();
            tokio::spawn(async move {
                a.ask(|reply: alys_actor::Reply<()>| {
                    now(move |_, _| {
                        let _held = reply;
                        panic!("as told")
                    })
                })
                .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let report = system.shutdown().await;
    assert!(report.killed.is_empty(), "{report:?}");
    for ask in asks {
        let answer = ask.await.unwrap();
        assert!(matches!(answer, Err(AskError::Failed(HandlerFailure::Panicked) | AskError::Stopped)), "{answer:?}");
    }
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn children_that_ignore_the_stop_are_killed_and_leave_no_task() {
    let mut root = Supervisor::new("root");
    let mut addrs = Vec::new();
    for i in 0..50 {
        addrs.push(root.add(puppet(&i.to_string()).shutdown(Duration::from_secs(1))));
    }
    let system = start(root).await;
    for addr in &addrs {
        addr.tell(later(|_, ctx| {
            ctx.run("for ever", std::future::pending());
            Box::pin(std::future::pending())
        }))
        .await
        .unwrap();
    }
    seconds(1).await;
    let report = system.shutdown().await;
    assert_eq!((report.killed.len(), report.stuck.len()), (50, 0));
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_told_by_hand_while_a_child_restarts_ends_it_for_good() {
    for by_restart in [false, true] {
        let mut root = Supervisor::new("root").backoff(slow());
        let a = root.add(puppet("a"));
        let handle = root.handle();
        let system = start(root).await;
        if by_restart {
            a.tell(later(|_, _| Box::pin(seconds(2)))).await.unwrap();
            handle.restart("a").unwrap();
        } else {
            a.tell(now(|_, _| panic!("as told"))).await.unwrap();
        }
        seconds(1).await;
        a.tell(Msg::Note(1)).await.unwrap();
        handle.stop("a").unwrap();
        tokio::time::timeout(Duration::from_secs(60), a.stopped()).await.unwrap();
        assert!(system.dead_letters().iter().all(|d| d.reason == DeadReason::Crashed), "{:?}", system.dead_letters());
        assert!(system.shutdown().await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_asked_for_twice_and_by_a_critical_child_at_once_is_one() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").critical());
    let b = root.add(puppet("b"));
    let system = start(root).await;
    b.tell(later(|_, _| Box::pin(seconds(2)))).await.unwrap();
    b.tell(Msg::Note(1)).await.unwrap();
    a.tell(now(|_, _| panic!("as told"))).await.unwrap();
    system.request_shutdown();
    let (notes, report) = tokio::join!(b.ask(Msg::Get), system.shutdown());
    assert!(notes == Ok(vec![1]) || notes == Err(AskError::Stopped), "{notes:?}");
    assert!(matches!(report.exit, Exit::Escalated { .. } | Exit::Drained), "{report:?}");
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_system_kills_ten_thousand_actors_and_answers_their_askers() {
    struct Counted(Arc<AtomicU32>);
    impl Actor for Counted {
        type Message = Msg;
        type Error = std::convert::Infallible;
        async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Self::Error> {
            if let Msg::Get(_reply) = message {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let alive = Arc::new(AtomicU32::new(0));
    let root = Supervisor::new("root");
    let handle = root.handle();
    let system = start(root).await;
    let mut asked = Vec::new();
    for i in 0..10_000_u32 {
        let alive = Arc::clone(&alive);
        let addr = handle
            .add(Child::new(i.to_string(), move || {
                alive.fetch_add(1, Ordering::SeqCst);
                Counted(Arc::clone(&alive))
            }))
            .unwrap();
        // One with a request in hand, one with a request that waits behind it, for every hundredth.
        if i % 100 == 0 {
            for _ in 0..2 {
                let addr = addr.clone();
                asked.push(tokio::spawn(async move { addr.ask(Msg::Get).await }));
            }
        }
    }
    seconds(1).await;
    assert_eq!(alive.load(Ordering::SeqCst), 10_000);
    drop(system);
    for ask in asked {
        assert!(ask.await.unwrap().is_err());
    }
    assert_eq!(tasks().await, 0);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn children_told_to_stop_one_by_one_leave_no_task_and_no_name() {
    let root = Supervisor::new("root");
    let handle = root.handle();
    let system = start(root).await;
    let before = tasks().await;
    for round in 0..3 {
        let addrs: Vec<_> = (0..1000).map(|i: u32| handle.add(puppet(&i.to_string())).unwrap()).collect();
        for (i, addr) in addrs.iter().enumerate() {
            if i % 3 == 0 {
                addr.tell(now(|_, _| panic!("as told"))).await.unwrap();
            }
            handle.stop(&i.to_string()).unwrap();
        }
        for addr in &addrs {
            addr.stopped().await;
        }
        assert_eq!(tasks().await, before, "round {round}");
        assert!(system.tree().root.children.is_empty());
    }
    system.shutdown().await;
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_never_ends_is_killed_and_given_up() {
    struct Stuck;
    impl Actor for Stuck {
        type Message = Msg;
        type Error = std::convert::Infallible;
        async fn started(&mut self, _: &mut Context<Msg>) -> Result<(), Self::Error> {
            std::future::pending().await
        }
        async fn handle(&mut self, _: Msg, _: &mut Context<Msg>) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let mut root = Supervisor::new("root").intensity(1, HOUR).backoff(Backoff::NONE);
    root.add(Child::new("a", || Stuck).startup(Duration::from_secs(3)));
    let began = tokio::time::Instant::now();
    let Err(StartError::GaveUp(Exit::Escalated { cause, .. })) = builder().start(root).await else { panic!("started") };
    assert_eq!(*cause, Exit::Killed);
    assert_eq!(began.elapsed(), Duration::from_secs(6));
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_given_up_by_its_caller_leaves_nothing() {
    let mut root = Supervisor::new("root");
    root.add(puppet("a"));
    let mut second = puppet("b");
    second = second.startup(HOUR);
    root.add(second);
    let starting = builder().start(root);
    drop(tokio::time::timeout(Duration::ZERO, starting).await);
    assert_eq!(tasks().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_keeps_crashing_its_actor_is_quarantined() {
    let mut root = Supervisor::new("root").intensity(100, HOUR).backoff(Backoff::NONE);
    let a = root.add(puppet("a").quarantine_after(3));
    let system = start(root).await;
    a.tell(Msg::Again(1, Arc::new(|_| panic!("as told")))).await.unwrap();
    a.tell(Msg::Again(2, Arc::new(|_| {}))).await.unwrap();
    // Three crashes with the first, in its place; then the second.
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [1, 1, 1, 2]);
    let dead = system.dead_letters();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].message, dead[0].reason), ("again", DeadReason::Quarantined));
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_crashes_once_is_handled_in_its_place() {
    let mut root = Supervisor::new("root").backoff(Backoff::NONE);
    let a = root.add(puppet("a"));
    let system = start(root).await;
    let tries = Arc::new(AtomicU32::new(0));
    let once = move |_| assert!(tries.fetch_add(1, Ordering::SeqCst) > 0, "the first time");
    a.tell(Msg::Again(1, Arc::new(once))).await.unwrap();
    a.tell(Msg::Note(2)).await.unwrap();
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [1, 1, 2]);
    assert!(system.dead_letters().is_empty());
}

#[tokio::test(start_paused = true)]
async fn temporary_actors_that_fail_give_back_what_waits() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").restart(RestartPolicy::Temporary));
    let system = start(root).await;
    a.tell(now(|_, _| panic!("as told"))).await.unwrap();
    a.tell(Msg::Note(1)).await.unwrap();
    assert_eq!(a.ask(Msg::Get).await, Err(AskError::Stopped));
    let reasons: Vec<_> = system.dead_letters().iter().map(|d| (d.message, d.reason)).collect();
    assert_eq!(reasons, [("now", DeadReason::Crashed), ("note", DeadReason::Stopped)]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_bounded_and_counted() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").restart(RestartPolicy::Temporary));
    let system = start(root).await;
    a.try_tell(now(|_, _| panic!("as told"))).unwrap();
    for n in 0..1000 {
        a.try_tell(Msg::Note(n)).unwrap();
    }
    a.stopped().await;
    assert_eq!(system.tree().dead_letters, 1001);
    assert_eq!(system.dead_letters().len(), 256);
}

async fn stuck_thread(system: System, go: &std::sync::mpsc::Sender<()>) {
    let report = system.shutdown().await;
    assert_eq!(
        (report.killed.as_slice(), report.stuck.as_slice()),
        (&["root/a".to_owned()][..], &["root/a".to_owned()][..])
    );
    go.send(()).unwrap();
}

#[tokio::test]
async fn a_thread_that_never_comes_back_is_named_and_left_and_its_asker_is_answered() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").blocking().shutdown(Duration::from_millis(20)));
    let system =
        builder().watchdog(Duration::from_millis(1)).look_every(Duration::from_millis(5)).start(root).await.unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (began, running) = tokio::sync::oneshot::channel();
    let asked = tokio::spawn({
        let a = a.clone();
        async move {
            a.ask(|reply: alys_actor::Reply<()>| {
                now(move |_, _| {
                    began.send(()).unwrap();
                    let _ = wait.recv();
                    reply.send(());
                })
            })
            .await
        }
    });
    running.await.unwrap();
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.ask(Msg::Get).await }
    });
    // The watchdog names the handler.
    loop {
        let tree = system.tree();
        let node = tree.get("root/a").unwrap();
        if let alys_actor::Health::Degraded(why) = &node.health {
            assert!(why.contains("now"), "{why}");
            break;
        }
        tokio::task::yield_now().await;
    }
    stuck_thread(system, &go).await;
    assert_eq!(asked.await.unwrap(), Err(AskError::Stopped));
    assert_eq!(waiting.await.unwrap(), Err(AskError::Stopped));
}

#[tokio::test]
async fn after_a_stuck_thread_is_left_the_next_incarnation_has_the_inbox_to_itself() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").blocking().shutdown(Duration::from_millis(20)));
    let handle = root.handle();
    let system = start(root).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (began, running) = tokio::sync::oneshot::channel();
    a.tell(now(move |p, _| {
        began.send(()).unwrap();
        let _ = wait.recv();
        p.local = 1;
    }))
    .await
    .unwrap();
    running.await.unwrap();
    a.tell(Msg::Note(1)).await.unwrap();
    handle.restart("a").unwrap();
    // Answered by the second incarnation, while the first still has its thread.
    assert_eq!(a.ask(Msg::Get).await, Ok(vec![1]));
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 1);
    go.send(()).unwrap();
    for n in 2..50 {
        a.tell(Msg::Note(n)).await.unwrap();
    }
    assert_eq!(a.ask(Msg::Get).await.unwrap(), (1..50).collect::<Vec<_>>());
    system.shutdown().await;
}
