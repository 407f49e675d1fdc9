//! Lanes: what overtakes what, and for how long it may.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alys_actor::{Child, Exit, Phase, Supervisor, TellError};
use common::{Msg, Puppet, builder, later, now, puppet, seconds, start};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_delays_a_timer_by_no_more_than_the_bound() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").capacity(100_000));
    let _system = start(root).await;
    a.tell(now(|_, ctx| {
        ctx.after(Duration::from_secs(1), Msg::Note(u64::MAX));
    }))
    .await
    .unwrap();
    // Each message takes 100 ms of the actor's time, so that the timer is due after ten of them.
    for n in 0..1000 {
        a.try_tell(later(move |p, _| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                p.notes.lock().unwrap().push(n);
            })
        }))
        .unwrap();
    }
    let notes = a.ask(Msg::Get).await.unwrap();
    let at = notes.iter().position(|n| *n == u64::MAX).unwrap();
    assert!((9..=10 + 16).contains(&at), "the timer came after {at} messages");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_timers_delays_a_message_by_no_more_than_the_bound() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    a.tell(now(|_, ctx| {
        for n in 0..1000 {
            ctx.after(Duration::ZERO, Msg::Note(n));
        }
    }))
    .await
    .unwrap();
    a.tell(Msg::Note(u64::MAX)).await.unwrap();
    seconds(1).await;
    let notes = a.ask(Msg::Get).await.unwrap();
    assert_eq!(notes.len(), 1001);
    let at = notes.iter().position(|n| *n == u64::MAX).unwrap();
    assert!(at <= 16, "the message came after {at} timers");
}

#[tokio::test(start_paused = true)]
async fn a_restart_overtakes_what_waits_and_keeps_it() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let handle = root.handle();
    let system = start(root).await;
    a.tell(later(|_, _| Box::pin(seconds(1)))).await.unwrap();
    for n in 0..100 {
        a.tell(Msg::Note(n)).await.unwrap();
    }
    handle.restart("a").unwrap();
    assert_eq!(a.ask(Msg::Get).await.unwrap(), (0..100).collect::<Vec<_>>());
    let tree = system.tree();
    assert_eq!((tree.get("root/a").unwrap().restarts, tree.get("root/a").unwrap().failures), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_token_is_cancelled_by_a_drain_so_that_loops_beside_the_actor_end() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let system = start(root).await;
    a.tell(now(|_, ctx| {
        let token = ctx.token();
        ctx.run("loop", async move { token.cancelled().await });
    }))
    .await
    .unwrap();
    seconds(1).await;
    let report = system.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_panic_beside_the_actor_fails_it_with_the_name_of_the_work() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let system = start(root).await;
    a.tell(now(|_, ctx| {
        ctx.run("sums", async { panic!("as told") });
    }))
    .await
    .unwrap();
    seconds(1).await;
    let tree = system.tree();
    let Some(Exit::Panicked(panic)) = &tree.get("root/a").unwrap().last_exit else { panic!("{tree:?}") };
    assert_eq!(panic.message, "in sums: as told");
    assert!(panic.location.is_some());
}

#[tokio::test(start_paused = true)]
async fn aborted_work_and_cancelled_timers_bring_nothing() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    a.tell(now(|_, ctx| {
        let work = ctx.spawn("work", async {
            seconds(1).await;
            Msg::Note(1)
        });
        let timer = ctx.after(Duration::from_secs(1), Msg::Note(2));
        assert!(ctx.abort(work));
        assert!(ctx.cancel(timer));
        assert!(!ctx.cancel(timer));
    }))
    .await
    .unwrap();
    seconds(5).await;
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [] as [u64; 0]);
}

#[tokio::test]
async fn blocking_work_arrives_as_a_message() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let system = start(root).await;
    a.tell(now(|_, ctx| {
        ctx.spawn_blocking("sums", || Msg::Note((1..=4).sum()));
    }))
    .await
    .unwrap();
    while a.ask(Msg::Get).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [10]);
    assert!(system.shutdown().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn depth_and_age_of_an_inbox_are_seen() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").capacity(500));
    let system = start(root).await;
    a.tell(later(|_, _| Box::pin(seconds(100)))).await.unwrap();
    seconds(1).await;
    for n in 0..200 {
        a.tell(Msg::Note(n)).await.unwrap();
    }
    seconds(9).await;
    let tree = system.tree();
    let node = tree.get("root/a").unwrap();
    assert_eq!((node.inbox_depth, node.inbox_capacity, node.handling), (200, 500, Some("later")));
    assert_eq!(node.inbox_age_ms, Some(9000));
}

/// The clock of timers only goes forward; what can happen is that it jumps, or that a time asked for has passed.
#[tokio::test(start_paused = true)]
async fn after_a_jump_of_the_clock_an_interval_ticks_once_and_keeps_its_phase() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    let ticks: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let began = Instant::now();
    a.tell({
        let ticks = Arc::clone(&ticks);
        now(move |_, ctx| {
            ctx.every(Duration::from_secs(10), move || {
                ticks.lock().unwrap().push(began.elapsed());
                Msg::Tick
            });
            // A time that has passed: at once, not never.
            ctx.at(began.checked_sub(Duration::from_secs(1)).unwrap_or(began), Msg::Note(7));
        })
    })
    .await
    .unwrap();
    seconds(15).await;
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [7]);
    // A machine that slept for an hour.
    tokio::time::advance(Duration::from_hours(1)).await;
    seconds(20).await;
    let ticks: Vec<u64> = ticks.lock().unwrap().iter().map(Duration::as_secs).collect();
    assert_eq!(ticks, [10, 3615, 3620, 3630]);
}

/// Nothing here may read the wall clock, which can jump back; all times are those of the runtime's monotonic clock.
#[test]
fn the_wall_clock_is_never_read() {
    fn look(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found);
            } else if std::fs::read_to_string(&path).unwrap().contains("SystemTime") {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    look(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_interleaving_and_others_give_others() {
    async fn run(seed: u64) -> Vec<u64> {
        let notes = common::Notes::default();
        let mut root = Supervisor::new("root");
        let addrs: Vec<_> = (0..4)
            .map(|i| {
                let notes = Arc::clone(&notes);
                root.add(Child::new(i.to_string(), move || Puppet {
                    notes: Arc::clone(&notes),
                    kept: Vec::new(),
                    local: 0,
                }))
            })
            .collect();
        let system = builder().perturb(seed).start(root).await.unwrap();
        for n in 0..5 {
            for (addr, i) in addrs.iter().zip(0..) {
                addr.tell(Msg::Note(n * 10 + i)).await.unwrap();
            }
        }
        system.shutdown().await;
        let notes = notes.lock().unwrap().clone();
        for i in 0..4 {
            let own: Vec<u64> = notes.iter().copied().filter(|n| n % 10 == i).collect();
            assert_eq!(own, (0..5).map(|n| n * 10 + i).collect::<Vec<_>>());
        }
        notes
    }
    let mut all = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let once = run(seed).await;
        assert_eq!(once, run(seed).await);
        all.insert(once);
    }
    assert!(all.len() > 3, "only {} interleavings", all.len());
}

#[tokio::test(start_paused = true)]
async fn a_suspended_actor_takes_until_it_is_full_and_a_drain_ends_the_suspension() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").capacity(2));
    let handle = root.handle();
    let system = start(root).await;
    handle.suspend("a").unwrap();
    seconds(1).await;
    a.try_tell(Msg::Note(1)).unwrap();
    a.try_tell(Msg::Note(2)).unwrap();
    assert!(matches!(a.try_tell(Msg::Note(3)), Err(TellError::Full(Msg::Note(3)))));
    assert_eq!(system.tree().get("root/a").unwrap().state, Phase::Suspended);
    let handled = system.handle();
    assert!(system.shutdown().await.is_clean());
    assert_eq!(handled.tree().get("root/a").unwrap().handled, 2);
}
