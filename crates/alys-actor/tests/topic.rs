//! Publishing: who is too slow is told so, and nobody is waited for.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use alys_actor::testkit::Sink;
use alys_actor::{Actor, Child, Context, LagPolicy, Message, Published, Supervisor, System, Topic};
use futures::StreamExt as _;

#[derive(Debug, PartialEq)]
enum Msg {
    Event(Published<u32>),
}

impl Message for Msg {}

struct Listener(Topic<u32>, alys_actor::Addr<Msg>);

impl Actor for Listener {
    type Message = Msg;
    type Error = Infallible;

    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), Infallible> {
        ctx.attach(self.0.subscribe().map(Msg::Event));
        Ok(())
    }

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        self.1.tell(message).await.unwrap();
        Ok(())
    }
}

async fn heard(policy: LagPolicy) -> (Vec<Published<u32>>, usize) {
    let topic = Topic::new(4, policy);
    let mut sink = Sink::new(100);
    let mut root = Supervisor::new("root");
    root.add(Child::new("listener", {
        let (topic, sink) = (topic.clone(), sink.addr());
        move || Listener(topic.clone(), sink.clone())
    }));
    let system = System::builder("test").start(root).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    for n in 0..6 {
        topic.publish(n);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    topic.publish(6);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let left = topic.subscribers();
    assert!(system.shutdown().await.is_clean());
    assert_eq!(topic.subscribers(), 0);
    let heard = std::iter::from_fn(|| sink.try_recv()).map(|Msg::Event(e)| e).collect();
    (heard, left)
}

#[tokio::test(start_paused = true)]
async fn skipping_subscribers_go_on_with_what_is_kept() {
    use Published::{Lagged, Value};
    let (heard, left) = heard(LagPolicy::Skip).await;
    assert_eq!(heard, [Lagged(2), Value(2), Value(3), Value(4), Value(5), Value(6)]);
    assert_eq!(left, 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_subscribers_get_the_lag_and_no_more() {
    let (heard, left) = heard(LagPolicy::Drop).await;
    assert_eq!(heard, [Published::Lagged(2)]);
    assert_eq!(left, 0);
}
