//! Links and monitors, across restarts and up to the end.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::sync::{Arc, Mutex};

use alys_actor::{Addr, Backoff, Down, Exit, RestartPolicy, Strategy, Supervisor};
use common::{Msg, now, puppet, seconds, start};

async fn panics(addr: &Addr<Msg>) {
    addr.tell(now(|_, _| panic!("as told"))).await.unwrap();
    seconds(1).await;
}

async fn links(from: &Addr<Msg>, to: &Addr<Msg>) {
    let to = to.clone();
    from.tell(now(move |_, ctx| ctx.link(&to))).await.unwrap();
    seconds(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_linked_actor_fails_with_the_failure_that_it_is_linked_to() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let system = start(root).await;
    links(&a, &b).await;
    panics(&b).await;
    let tree = system.tree();
    assert_eq!(tree.get("root/a").unwrap().restarts, 1);
    match &tree.get("root/a").unwrap().last_exit {
        Some(Exit::Escalated { child, cause }) => {
            assert_eq!(child, "root/b");
            assert!(matches!(**cause, Exit::Panicked(_)));
        }
        other => panic!("{other:?}"),
    }
    // The link ended with the incarnation that set it.
    panics(&b).await;
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 1);
    assert!(system.shutdown().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn links_of_two_to_each_other_fail_both_once() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let system = start(root).await;
    links(&a, &b).await;
    links(&b, &a).await;
    panics(&a).await;
    let tree = system.tree();
    assert_eq!((tree.get("root/a").unwrap().restarts, tree.get("root/b").unwrap().restarts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_link_outlasts_ends_that_are_no_failures() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let handle = root.handle();
    let system = start(root).await;
    links(&a, &b).await;
    handle.restart("b").unwrap();
    seconds(1).await;
    assert_eq!(system.tree().get("root/b").unwrap().restarts, 1);
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 0);
    panics(&b).await;
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_to_one_that_has_failed_for_good_fails_at_once() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let b = root.add(puppet("b").restart(RestartPolicy::Temporary));
    let system = start(root).await;
    panics(&b).await;
    assert!(b.is_stopped());
    links(&a, &b).await;
    assert_eq!(system.tree().get("root/a").unwrap().restarts, 1);
}

type Downs = Arc<Mutex<Vec<Down>>>;

async fn monitors(from: &Addr<Msg>, of: &Addr<Msg>) -> Downs {
    let downs = Downs::default();
    let (of, seen) = (of.clone(), Arc::clone(&downs));
    from.tell(now(move |_, ctx| {
        ctx.monitor(&of, move |down| now(move |_, _| seen.lock().unwrap().push(down)));
    }))
    .await
    .unwrap();
    seconds(1).await;
    downs
}

#[tokio::test(start_paused = true)]
async fn a_monitor_hears_of_a_panic_once_with_its_cause() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    let downs = monitors(&a, &b).await;
    panics(&b).await;
    panics(&b).await;
    let downs = downs.lock().unwrap();
    assert_eq!(downs.len(), 1);
    assert_eq!((&*downs[0].path, downs[0].is_final), ("root/b", false));
    assert!(matches!(&downs[0].exit, Exit::Panicked(p) if p.message == "as told"));
}

#[tokio::test(start_paused = true)]
async fn a_monitor_of_one_that_has_stopped_hears_of_it_at_once() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let handle = root.handle();
    let _system = start(root).await;
    handle.stop("b").unwrap();
    b.stopped().await;
    let downs = monitors(&a, &b).await;
    let downs = downs.lock().unwrap();
    assert_eq!((downs[0].exit.clone(), downs[0].is_final), (Exit::Drained, true));
}

#[tokio::test(start_paused = true)]
async fn a_monitor_is_for_the_incarnation_that_set_it() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    let downs = monitors(&a, &b).await;
    panics(&a).await;
    panics(&b).await;
    assert!(downs.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_monitor_across_subtrees_hears_when_the_whole_subtree_is_given_up() {
    let mut sub = Supervisor::new("sub").strategy(Strategy::OneForAll).intensity(0, std::time::Duration::from_secs(1));
    let b = sub.add(puppet("b"));
    let c = sub.add(puppet("c"));
    let mut root = Supervisor::new("root").intensity(0, std::time::Duration::from_secs(1)).backoff(Backoff::NONE);
    let a = root.add(puppet("a"));
    root.supervisor(sub);
    let system = start(root).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    a.tell({
        let (c, heard) = (c.clone(), Arc::clone(&heard));
        now(move |_, ctx| {
            // Delivered while this one drains.
            ctx.monitor(&c, move |down| now(move |_, _| heard.lock().unwrap().push(down)));
        })
    })
    .await
    .unwrap();
    panics(&b).await;
    assert!(matches!(system.ended().await, Exit::Escalated { .. }));
    assert!(c.is_stopped());
    assert_eq!(heard.lock().unwrap().len(), 1, "{heard:?}");
}
