//! A supervised TCP server: it answers lines with their length, is started again if it fails, and on Ctrl-C stops
//! listening, lets the connections finish, and only then ends.
//!
//! `cargo run -p alys-actor --example tcp_server -- 127.0.0.1:7777`, then `nc 127.0.0.1 7777`

use std::net::SocketAddr;
use std::time::Duration;

use alys_actor::{Actor, CancellationToken, Child, Context, Message, Reply, Supervisor, System};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// More at once are turned away.
const MAX_CONNECTIONS: usize = 1000;

enum Msg {
    Accepted(TcpStream, SocketAddr),
    /// A connection came to its end after so many lines.
    Done(SocketAddr, u64),
    Address(Reply<Option<SocketAddr>>),
}

impl Message for Msg {
    fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(..) => "accepted",
            Self::Done(..) => "done",
            Self::Address(_) => "address",
        }
    }
}

struct Server {
    listen: String,
    address: Option<SocketAddr>,
    connections: usize,
}

impl Actor for Server {
    type Message = Msg;
    type Error = std::io::Error;

    async fn started(&mut self, ctx: &mut Context<Msg>) -> Result<(), Self::Error> {
        // A port that is taken fails the start; the supervisor tries again later.
        let listener = TcpListener::bind(&self.listen).await?;
        self.address = Some(listener.local_addr()?);
        let (server, stop) = (ctx.addr().clone(), ctx.token());
        ctx.run("accept", async move {
            // Cancelled as soon as the server is told to drain: no new connections from then on.
            while let Some(Ok((stream, peer))) = stop.run_until_cancelled(listener.accept()).await {
                // Waits while the inbox is full, so that the backlog is the kernel's.
                if server.tell(Msg::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    async fn handle(&mut self, message: Msg, ctx: &mut Context<Msg>) -> Result<(), Self::Error> {
        match message {
            Msg::Accepted(stream, peer) if self.connections < MAX_CONNECTIONS => {
                self.connections += 1;
                let stop = ctx.token();
                // Draining waits for it; its end arrives as a message.
                ctx.spawn("connection", async move { Msg::Done(peer, serve(stream, stop).await) });
            }
            Msg::Accepted(..) => {}
            Msg::Done(peer, lines) => {
                self.connections -= 1;
                println!("{peer}: {lines} lines");
            }
            Msg::Address(reply) => reply.send(self.address),
        }
        Ok(())
    }
}

/// Answers lines until the peer has had enough, or the server drains and the peer is between two lines.
async fn serve(stream: TcpStream, stop: CancellationToken) -> u64 {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut count = 0;
    while let Some(Ok(Some(line))) = stop.run_until_cancelled(lines.next_line()).await {
        let answer = format!("{}\n", line.len());
        if write.write_all(answer.as_bytes()).await.is_err() {
            break;
        }
        count += 1;
    }
    count
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let mut root = Supervisor::new("root");
    let server = root.add(
        Child::new("server", move || Server { listen: listen.clone(), address: None, connections: 0 })
            .shutdown(Duration::from_secs(10)),
    );
    let system = System::builder("tcp").start(root).await?;
    if let Some(address) = server.ask(Msg::Address).await? {
        println!("listening on {address}");
    }
    tokio::select! {
        exit = system.ended() => eprintln!("gave up: {exit}"),
        _ = tokio::signal::ctrl_c() => println!("draining"),
    }
    let report = system.shutdown().await;
    println!("{}, {} ms", report.exit, report.took.as_millis());
    Ok(())
}
