//! What a message costs in allocations and an idle actor in bytes, by an allocator that counts.
#![allow(unsafe_code, reason = "an allocator can't be written without; it hands every call on to the system's")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System as Heap};
use std::cell::Cell;
use std::convert::Infallible;

use alys_actor::{Actor, Child, Context, Message, Reply, Supervisor, System};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

fn note(count: usize, bytes: usize, freed: usize) {
    let _ = COUNT.try_with(|c| c.set(c.get() + count));
    let _ = LIVE.try_with(|l| l.set(l.get().wrapping_add_unsigned(bytes).wrapping_sub_unsigned(freed)));
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { Heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(0, 0, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { Heap.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { Heap.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

enum Msg {
    Add(u64),
    Get(Reply<u64>),
}

impl Message for Msg {}

struct Sum(u64);

impl Actor for Sum {
    type Message = Msg;
    type Error = Infallible;

    async fn handle(&mut self, message: Msg, _: &mut Context<Msg>) -> Result<(), Infallible> {
        match message {
            Msg::Add(n) => self.0 = self.0.wrapping_add(n),
            Msg::Get(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

// One thread, so that all of what is counted belongs to the test.
#[tokio::test(flavor = "current_thread")]
async fn a_tell_allocates_nothing_and_an_ask_once() {
    let mut root = Supervisor::new("root");
    let addr = root.add(Child::new("sum", || Sum(0)));
    let system = System::builder("test").start(root).await.unwrap();
    let tells = async || {
        for n in 0..10_000 {
            addr.tell(Msg::Add(n)).await.unwrap();
        }
        let before = COUNT.get();
        addr.ask(Msg::Get).await.unwrap();
        assert!(COUNT.get() - before <= 1);
    };
    // The inbox grows to the depth that it is used with, once.
    tells().await;
    let before = COUNT.get();
    tells().await;
    assert_eq!(COUNT.get() - before, 1);

    let before = COUNT.get();
    for _ in 0..1000 {
        addr.ask(Msg::Get).await.unwrap();
    }
    assert_eq!(COUNT.get() - before, 1000);
    assert!(system.shutdown().await.is_clean());
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_supervised_actor_takes_no_more_than_two_and_a_half_kilobytes() {
    const ACTORS: u32 = 20_000;
    let root = Supervisor::new("root");
    let handle = root.handle();
    let system = System::builder("test").start(root).await.unwrap();
    let mut addrs = Vec::with_capacity(20_000);
    let before = LIVE.get();
    for i in 0..ACTORS {
        addrs.push(handle.add(Child::new(i.to_string(), || Sum(0))).unwrap());
    }
    for addr in &addrs {
        addr.ask(Msg::Get).await.unwrap();
    }
    let each = (LIVE.get() - before) / 20_000;
    println!("{each} bytes per idle actor");
    assert!(each <= 2500, "{each} bytes");
    drop(system);
}
