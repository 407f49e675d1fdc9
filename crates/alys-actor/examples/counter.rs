//! A counter: one actor, told and asked, stopped in order.

use std::convert::Infallible;

use alys_actor::{Actor, Child, Context, Message, Reply, Supervisor, System};

enum Msg {
    Add(u64),
    Get(Reply<u64>),
}

impl Message for Msg {}

struct Counter(u64);

impl Actor for Counter {
    type Message = Msg;
    type Error = Infallible;

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Add(n) => self.0 = self.0.saturating_add(n),
            Msg::Get(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut root = Supervisor::new("root");
    let counter = root.add(Child::new("counter", || Counter(0)));
    let system = System::builder("counter").start(root).await?;
    for n in 1..=10 {
        counter.tell(Msg::Add(n)).await.map_err(|e| e.to_string())?;
    }
    println!("{}", counter.ask(Msg::Get).await?);
    let report = system.shutdown().await;
    println!("clean: {}", report.is_clean());
    Ok(())
}
