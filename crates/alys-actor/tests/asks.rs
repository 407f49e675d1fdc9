//! Asks: cycles, deadlines and cancellation that travel, and what is not a cycle.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use alys_actor::{AskError, Supervisor, TellError};
use common::{Answer, Msg, asks, later, now, puppet, seconds, start};

fn cycle(of: &[&str]) -> Answer {
    Err(AskError::Cycle(of.iter().map(|p| Arc::from(*p)).collect()))
}

#[tokio::test(start_paused = true)]
async fn an_ask_to_oneself_is_a_cycle_of_one() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    assert_eq!(a.ask(asks(a.clone(), Msg::Get)).await.unwrap(), cycle(&["root/a", "root/a"]));
    assert_eq!(a.ask(Msg::Get).await.unwrap(), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cycle_through_four_actors_names_them_in_order() {
    let mut root = Supervisor::new("root");
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    let (got, answer) = tokio::sync::oneshot::channel();
    let through = |next: alys_actor::Addr<Msg>, request: Msg| {
        later(move |_, _| {
            Box::pin(async move {
                let _ = next
                    .ask(|reply| {
                        later(move |p, ctx| {
                            Box::pin(async move {
                                p.kept.push(reply);
                                ctx.addr().tell(request).await.unwrap();
                            })
                        })
                    })
                    .await;
            })
        })
    };
    // a waits for b, b for c, c for d; then d asks a.
    let close = later(move |_, _| Box::pin(async move { drop(got.send(a.ask(Msg::Get).await)) }));
    let a2 = through(b.clone(), through(c.clone(), through(d.clone(), close)));
    let first = b;
    drop((first, c, d));
    _system.registry().get::<Msg>("root/a").unwrap().tell(a2).await.unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer, cycle(&["root/d", "root/a", "root/b", "root/c", "root/d"]));
}

#[tokio::test(start_paused = true)]
async fn a_cycle_over_one_of_several_asks_at_once_is_found() {
    let mut root = Supervisor::new("root");
    let [a, b, c] = ["a", "b", "c"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    let back = asks(a.clone(), Msg::Get);
    let both = |reply: alys_actor::Reply<(Answer, Result<Answer, AskError>)>| {
        later(move |_, _| {
            Box::pin(async move {
                let slow = b.ask(|reply| {
                    later(move |_, _| {
                        Box::pin(async move {
                            seconds(5).await;
                            reply.send(vec![5]);
                        })
                    })
                });
                reply.send(tokio::join!(slow, c.ask(back)));
            })
        })
    };
    let (slow, back) = a.ask(both).await.unwrap();
    assert_eq!(slow, Ok(vec![5]));
    assert_eq!(back.unwrap(), cycle(&["root/c", "root/a", "root/c"]));
}

#[tokio::test(start_paused = true)]
async fn who_has_answered_may_ask_back_at_once() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    let (got, answer) = tokio::sync::oneshot::channel();
    let back = a.clone();
    let request = move |reply: alys_actor::Reply<Vec<u64>>| {
        later(move |_, _| {
            Box::pin(async move {
                reply.send(vec![1]);
                // The asker has not run since.
                let _ = got.send(back.ask(Msg::Get).await);
            })
        })
    };
    assert_eq!(a.ask(asks(b, request)).await.unwrap(), Ok(vec![1]));
    assert_eq!(answer.await.unwrap(), Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn background_work_may_ask_its_own_actor() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    let (got, answer) = tokio::sync::oneshot::channel();
    a.tell(now(move |_, ctx| {
        let own = ctx.addr().clone();
        ctx.run("ask", async move { drop(got.send(own.ask(Msg::Get).await)) });
    }))
    .await
    .unwrap();
    assert_eq!(answer.await.unwrap(), Ok(vec![]));
}

#[tokio::test(start_paused = true)]
async fn asks_to_and_fro_leave_no_wait_behind() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let _system = start(root).await;
    for _ in 0..100 {
        assert!(a.ask(asks(b.clone(), Msg::Get)).await.unwrap().is_ok());
        assert!(b.ask(asks(a.clone(), Msg::Get)).await.unwrap().is_ok());
        // One that is given up.
        let slow = |reply| later(move |_, _| Box::pin(async move { drop((seconds(2).await, reply)) }));
        assert_eq!(a.ask_within(Duration::from_secs(1), asks(b.clone(), slow)).await, Err(AskError::TimedOut));
        seconds(3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_travels_through_nested_asks() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let system = start(root).await;
    b.tell(later(|_, _| Box::pin(seconds(10)))).await.unwrap();
    let began = tokio::time::Instant::now();
    // The outer asker gives up after 2 s; the inner ask of `a` has no deadline of its own.
    let outer = a.ask_within(
        Duration::from_secs(2),
        asks(b.clone(), |reply| later(move |p, _| Box::pin(async move { p.kept.push(reply) }))),
    );
    assert_eq!(outer.await, Err(AskError::TimedOut));
    assert_eq!(a.ask(Msg::Get).await, Ok(vec![]));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    seconds(20).await;
    // Only the sleep was handled: the expired inner request was not.
    assert_eq!(system.tree().get("root/b").unwrap().handled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_ask_is_not_handled_nor_those_that_it_led_to() {
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let system = start(root).await;
    b.tell(later(|_, _| Box::pin(seconds(10)))).await.unwrap();
    let outer = tokio::spawn({
        let (a, b) = (a.clone(), b.clone());
        async move { a.ask(asks(b, Msg::Get)).await }
    });
    seconds(1).await;
    outer.abort();
    seconds(20).await;
    let tree = system.tree();
    assert_eq!((tree.get("root/a").unwrap().handled, tree.get("root/b").unwrap().handled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_that_its_asker_has_gone() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a"));
    let _system = start(root).await;
    let (saw, seen) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn({
        let a = a.clone();
        async move {
            a.ask(|reply: alys_actor::Reply<()>| {
                later(move |_, _| {
                    Box::pin(async move {
                        let before = reply.is_wanted();
                        seconds(2).await;
                        saw.send((before, reply.is_wanted())).unwrap();
                    })
                })
            })
            .await
        }
    });
    seconds(1).await;
    asking.abort();
    assert_eq!(seen.await.unwrap(), (true, false));
}

#[tokio::test(start_paused = true)]
async fn a_tell_given_up_in_the_line_is_not_sent_and_frees_its_place() {
    let mut root = Supervisor::new("root");
    let a = root.add(puppet("a").capacity(1));
    let _system = start(root).await;
    a.tell(later(|_, _| Box::pin(seconds(10)))).await.unwrap();
    tokio::task::yield_now().await;
    a.tell(Msg::Note(1)).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(1), a.tell(Msg::Note(2)));
    let second = a.tell(Msg::Note(3));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err());
    second.unwrap();
    assert!(matches!(a.try_tell(Msg::Note(4)), Ok(()) | Err(TellError::Full(_))));
    assert!(a.ask(Msg::Get).await.unwrap().starts_with(&[1, 3]));
}

#[tokio::test(start_paused = true)]
async fn correlation_rides_along_with_tells_asks_timers_of_work_and_dead_letters() {
    use alys_actor::correlated;
    let mut root = Supervisor::new("root");
    let [a, b] = ["a", "b"].map(|name| root.add(puppet(name)));
    let system = start(root).await;
    let id = system.correlate();
    let seen = |reply: alys_actor::Reply<Vec<u64>>| now(move |_, ctx| reply.send(vec![ctx.correlation().0]));
    let told = correlated(id, a.ask(asks(b.clone(), seen))).await.unwrap();
    assert_eq!(told, Ok(vec![id.0]));
    let worked = correlated(
        id,
        a.ask(|reply: alys_actor::Reply<u64>| {
            now(move |_, ctx| {
                ctx.run("hop", async move { drop(b.tell(now(move |_, ctx| reply.send(ctx.correlation().0))).await) });
            })
        }),
    );
    assert_eq!(worked.await, Ok(id.0));
    correlated(id, a.tell(now(|_, _| panic!("as told")))).await.unwrap();
    seconds(1).await;
    assert_eq!(system.dead_letters().last().unwrap().correlation, id);
    assert_ne!(system.correlate(), id);
}
