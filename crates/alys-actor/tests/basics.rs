//! Messages, asks, timers, work, stopping: one system per test, on paused time.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::convert::Infallible;
use std::time::Duration;

use alys_actor::{
    Actor, Addr, AskError, Child, Context, Down, Exit, HandlerFailure, Message, Overflow, Phase, Reply, Supervisor,
    System, TellError,
};

enum Msg {
    Add(u64),
    Latest(u64),
    Oldest(u64),
    Get(Reply<u64>),
    Seen(Reply<Vec<u64>>),
    Ask(Addr<Msg>, Reply<Result<u64, AskError>>),
    Keep(Reply<u64>),
    Panic(Option<Reply<u64>>),
    Drop(Reply<u64>),
    Hold(tokio::sync::oneshot::Receiver<()>),
    After(Duration, u64),
    Every(Duration, u64),
    Work(Duration, u64),
    Watch(Addr<Msg>),
    Down(Down),
    Downs(Reply<Vec<Down>>),
    Stop,
}

impl Message for Msg {
    fn overflow(&self) -> Overflow {
        match self {
            Self::Latest(_) => Overflow::Coalesce,
            Self::Oldest(_) => Overflow::DropOldest,
            Self::Drop(_) => Overflow::Reject,
            _ => Overflow::Wait,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Hold(_) => "hold",
            Self::Oldest(_) => "oldest",
            _ => "other",
        }
    }
}

#[derive(Default)]
struct Sum {
    seen: Vec<u64>,
    kept: Vec<Reply<u64>>,
    downs: Vec<Down>,
}

impl Actor for Sum {
    type Message = Msg;
    type Error = Infallible;

    async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Add(n) | Msg::Latest(n) | Msg::Oldest(n) => self.seen.push(n),
            Msg::Get(reply) => reply.send(self.seen.iter().sum()),
            Msg::Seen(reply) => reply.send(self.seen.clone()),
            Msg::Ask(other, reply) => reply.send(other.ask(Msg::Get).await),
            Msg::Keep(reply) => self.kept.push(reply),
            Msg::Panic(_reply) => panic!("as told"),
            Msg::Drop(reply) => drop(reply),
            Msg::Hold(until) => {
                let _ = until.await;
            }
            Msg::After(delay, n) => {
                ctx.after(delay, Msg::Add(n));
            }
            Msg::Every(period, n) => {
                ctx.every(period, move || Msg::Add(n));
            }
            Msg::Work(takes, n) => {
                ctx.spawn("work", async move {
                    tokio::time::sleep(takes).await;
                    Msg::Add(n)
                });
            }
            Msg::Watch(other) => ctx.monitor(&other, Msg::Down),
            Msg::Down(down) => self.downs.push(down),
            Msg::Downs(reply) => reply.send(self.downs.clone()),
            Msg::Stop => ctx.stop(),
        }
        Ok(())
    }
}

async fn one(child: Child<Sum>) -> (System, Addr<Msg>) {
    let mut root = Supervisor::new("root");
    let addr = root.add(child);
    (System::builder("test").start(root).await.unwrap(), addr)
}

fn sum() -> Child<Sum> {
    Child::new("sum", Sum::default)
}

#[tokio::test(start_paused = true)]
async fn tells_arrive_in_order_and_asks_are_answered() {
    let (system, addr) = one(sum()).await;
    for n in 0..3000 {
        addr.tell(Msg::Add(n)).await.unwrap();
    }
    assert_eq!(addr.ask(Msg::Seen).await.unwrap(), (0..3000).collect::<Vec<_>>());
    assert!(system.shutdown().await.is_clean());
    assert!(addr.is_stopped());
    assert_eq!(addr.ask(Msg::Get).await, Err(AskError::Stopped));
    assert!(matches!(addr.tell(Msg::Add(1)).await, Err(TellError::Stopped(Msg::Add(1)))));
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_the_start_wait_for_it() {
    let mut root = Supervisor::new("root");
    let addr = root.add(sum());
    addr.try_tell(Msg::Add(7)).unwrap();
    let _system = System::builder("test").start(root).await.unwrap();
    assert_eq!(addr.ask(Msg::Get).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_says_why() {
    let (_system, addr) = one(sum()).await;
    assert_eq!(addr.ask(Msg::Drop).await, Err(AskError::Failed(HandlerFailure::Unanswered)));
    assert_eq!(addr.ask(|r| Msg::Panic(Some(r))).await, Err(AskError::Failed(HandlerFailure::Panicked)));
    let kept = addr.ask(Msg::Keep);
    let (kept, ()) = tokio::join!(kept, async { addr.tell(Msg::Panic(None)).await.unwrap() });
    assert_eq!(kept, Err(AskError::Restarting));
    assert_eq!(addr.ask_within(Duration::from_secs(1), Msg::Keep).await, Err(AskError::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_caught_with_its_place_and_the_inbox_survives_it() {
    let (system, addr) = one(sum()).await;
    addr.tell(Msg::Panic(None)).await.unwrap();
    addr.tell(Msg::Add(5)).await.unwrap();
    assert_eq!(addr.ask(Msg::Get).await.unwrap(), 5);
    let tree = system.tree();
    let node = tree.get("root/sum").unwrap();
    assert_eq!((node.restarts, node.state), (1, Phase::Running));
    let Some(Exit::Panicked(panic)) = &node.last_exit else { panic!("{node:?}") };
    assert_eq!(panic.message, "as told");
    assert!(panic.location.as_ref().unwrap().contains("basics.rs:"), "{panic}");
    assert_eq!(system.dead_letters().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_does_as_the_message_says() {
    let (system, addr) = one(sum().capacity(2)).await;
    let (go, wait) = tokio::sync::oneshot::channel();
    addr.tell(Msg::Hold(wait)).await.unwrap();
    tokio::task::yield_now().await;
    addr.tell(Msg::Oldest(1)).await.unwrap();
    addr.tell(Msg::Latest(2)).await.unwrap();
    assert!(matches!(addr.try_tell(Msg::Add(3)), Err(TellError::Full(Msg::Add(3)))));
    assert_eq!(addr.ask(Msg::Drop).await, Err(AskError::Full));
    addr.tell(Msg::Latest(4)).await.unwrap();
    addr.tell(Msg::Oldest(5)).await.unwrap();
    assert_eq!(system.tree().get("root/sum").unwrap().handling, Some("hold"));
    let waiting = tokio::spawn({
        let addr = addr.clone();
        async move { addr.tell(Msg::Add(6)).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(addr.depth(), 2);
    go.send(()).unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(addr.ask(Msg::Seen).await.unwrap(), [4, 5, 6]);
    let dead: Vec<_> = system.dead_letters().iter().map(|d| d.message).collect();
    assert_eq!(dead, ["other", "oldest"]);
}

#[tokio::test(start_paused = true)]
async fn cyclic_asks_are_refused_with_the_cycle() {
    let mut root = Supervisor::new("root");
    let a = root.add(Child::new("a", Sum::default));
    let _system = System::builder("test").start(root).await.unwrap();
    let answer = a.ask(|r| Msg::Ask(a.clone(), r)).await.unwrap();
    let path: std::sync::Arc<str> = "root/a".into();
    assert_eq!(answer, Err(AskError::Cycle(vec![path.clone(), path])));
    assert_eq!(a.ask(Msg::Get).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn timers_and_work_arrive_as_messages_and_end_with_the_incarnation() {
    let (_system, addr) = one(sum()).await;
    addr.tell(Msg::After(Duration::from_secs(5), 1)).await.unwrap();
    addr.tell(Msg::Every(Duration::from_secs(2), 10)).await.unwrap();
    addr.tell(Msg::Work(Duration::from_secs(3), 100)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(6500)).await;
    assert_eq!(addr.ask(Msg::Seen).await.unwrap(), [10, 100, 10, 1, 10]);
    addr.tell(Msg::Work(Duration::from_secs(1), 100)).await.unwrap();
    addr.tell(Msg::Panic(None)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(addr.ask(Msg::Seen).await.unwrap(), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_drains_what_waits_and_the_work_under_way() {
    let (system, addr) = one(sum()).await;
    addr.tell(Msg::Work(Duration::from_secs(3), 100)).await.unwrap();
    let last = addr.ask(Msg::Get);
    let (last, report) = tokio::join!(last, async {
        tokio::task::yield_now().await;
        system.shutdown().await
    });
    assert_eq!(last, Ok(0));
    assert!(report.is_clean(), "{report:?}");
    assert!(report.took >= Duration::from_secs(2), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_ignores_the_drain_is_killed_at_its_deadline() {
    let (system, addr) = one(sum().shutdown(Duration::from_secs(7))).await;
    let (_go, wait) = tokio::sync::oneshot::channel();
    addr.tell(Msg::Hold(wait)).await.unwrap();
    let asked = addr.ask(Msg::Get);
    let (asked, report) = tokio::join!(asked, system.shutdown());
    assert_eq!(asked, Err(AskError::Stopped));
    assert_eq!(report.killed, ["root/sum"]);
    assert!(report.stuck.is_empty());
    assert_eq!(report.took.as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_hears_of_each_end() {
    let mut root = Supervisor::new("root");
    let watched = root.add(Child::new("watched", Sum::default));
    let watcher = root.add(Child::new("watcher", Sum::default));
    let handle = root.handle();
    let _system = System::builder("test").start(root).await.unwrap();
    watcher.tell(Msg::Watch(watched.clone())).await.unwrap();
    watcher.ask(Msg::Get).await.unwrap();
    watched.tell(Msg::Stop).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    watcher.tell(Msg::Watch(watched.clone())).await.unwrap();
    watcher.ask(Msg::Get).await.unwrap();
    handle.stop("watched").unwrap();
    watched.stopped().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let downs = watcher.ask(Msg::Downs).await.unwrap();
    let ends: Vec<_> = downs.iter().map(|d| (d.exit.clone(), d.is_final)).collect();
    assert_eq!(ends, [(Exit::Normal, false), (Exit::Drained, true)]);
}

#[tokio::test]
async fn a_blocking_actor_answers_from_its_own_thread() {
    let (system, addr) = one(sum().blocking()).await;
    addr.tell(Msg::Add(3)).await.unwrap();
    assert_eq!(addr.ask(Msg::Get).await.unwrap(), 3);
    assert!(system.shutdown().await.is_clean());
}
