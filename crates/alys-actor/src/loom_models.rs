//! Models of the primitives that are ours, run under every interleaving by `cargo xtask loom`.
//!
//! The inbox (also across restarts and with each overflow), the answer slot, and the latch that a drain sets. What they
//! have in common: a message or a wake-up must not be lost, and nothing may happen twice.

use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use crate::error::AskError;
use crate::flags::{DRAIN, Flags};
use crate::inbox::{Envelope, Inbox, Taken};
use crate::message::{Message, Overflow};
use crate::reply::{Pending, Reply, Slot};

/// Wakes a thread of the model.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: StdArc<Self>) {
        *self.rung.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

impl Bell {
    /// Polls until ready; between two polls it waits for the bell, for ever if that was lost: loom calls that a deadlock.
    fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        let bell = StdArc::new(Self::default());
        let waker = Waker::from(StdArc::clone(&bell));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = poll(&mut cx) {
                return value;
            }
            let mut rung = bell.rung.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            while !*rung {
                rung = bell.changed.wait(rung).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            *rung = false;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Msg(u32, Overflow);

impl Message for Msg {
    fn overflow(&self) -> Overflow {
        self.1
    }
}

fn plain(n: u32) -> Envelope<Msg> {
    Envelope::new(Msg(n, Overflow::Wait), None, 0)
}

fn request(n: u32) -> Envelope<Msg> {
    let ask: StdArc<dyn Pending> = StdArc::new(Slot::<()>::new(None, None));
    Envelope::new(Msg(n, Overflow::Wait), Some(ask), 0)
}

fn receive(inbox: &Inbox<Msg>) -> u32 {
    Bell::block_on(|cx| inbox.poll_receive(cx)).message.0
}

fn send(inbox: &Inbox<Msg>, n: u32) {
    let (mut ticket, mut envelope) = (None, Some(plain(n)));
    assert!(Bell::block_on(|cx| inbox.poll_send(cx, &mut ticket, &mut envelope)).is_ok());
}

/// One task that receives twice, as an actor does: the same waker all the time.
fn receive_two(inbox: &Inbox<Msg>) -> Vec<u32> {
    let mut got = Vec::new();
    Bell::block_on(|cx| {
        while got.len() < 2 {
            match inbox.poll_receive(cx) {
                Poll::Ready(envelope) => got.push(envelope.message.0),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    });
    got
}

#[test]
fn no_message_of_two_senders_is_lost() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(8));
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || assert!(inbox.try_send(plain(1)).is_ok())
        });
        let main = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || assert!(inbox.try_send(plain(2)).is_ok())
        });
        let mut got = receive_two(&inbox);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        sender.join().unwrap();
        main.join().unwrap();
    });
}

/// The receiver of a lone request does not look at the queue again: whoever comes meanwhile must wake it.
#[test]
fn an_armed_receiver_is_woken_by_what_comes_while_it_handles() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(8));
        assert!(inbox.try_send(request(1)).is_ok());
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || assert!(inbox.try_send(request(2)).is_ok())
        });
        assert_eq!(receive_two(&inbox), [1, 2]);
        sender.join().unwrap();
    });
}

#[test]
fn a_sender_that_waits_for_room_gets_it() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert!(inbox.try_send(plain(1)).is_ok());
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || send(&inbox, 2)
        });
        assert_eq!(receive_two(&inbox), [1, 2]);
        sender.join().unwrap();
    });
}

/// Room that was granted to who has gone is granted on.
#[test]
fn a_place_that_is_given_up_goes_to_the_next() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert!(inbox.try_send(plain(1)).is_ok());
        // The first in the line.
        let (mut ticket, mut envelope) = (None, Some(plain(9)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inbox.poll_send(&mut cx, &mut ticket, &mut envelope).is_pending());
        let second = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || send(&inbox, 2)
        });
        let leaver = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || inbox.abandon(ticket.unwrap())
        });
        assert_eq!(receive_two(&inbox), [1, 2]);
        second.join().unwrap();
        leaver.join().unwrap();
    });
}

/// The slot across restarts: one incarnation takes a message, gives it back as a crash does, and another goes on.
#[test]
fn the_next_incarnation_gets_what_the_one_before_gave_back_and_what_came_between() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(8));
        assert!(inbox.try_send(request(1)).is_ok());
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || assert!(inbox.try_send(request(2)).is_ok())
        });
        // The first life arms the inbox with its own waker and ends.
        let first = Bell::block_on(|cx| inbox.poll_receive(cx));
        assert_eq!(first.message.0, 1);
        inbox.put_back(first);
        inbox.change_receiver();
        assert_eq!(receive_two(&inbox), [1, 2]);
        sender.join().unwrap();
    });
}

/// The first life took a request, armed the inbox with its own waker, and died of it.
#[test]
fn the_next_incarnation_is_woken_though_the_one_before_had_armed_the_inbox() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(8));
        assert!(inbox.try_send(request(1)).is_ok());
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || assert!(inbox.try_send(request(2)).is_ok())
        });
        assert_eq!(receive(&inbox), 1);
        inbox.change_receiver();
        assert_eq!(receive(&inbox), 2);
        sender.join().unwrap();
    });
}

#[test]
fn of_messages_that_replace_one_another_the_newest_arrives_and_each_has_an_end() {
    for overflow in [Overflow::Coalesce, Overflow::DropOldest] {
        loom::model(move || {
            let inbox = Arc::new(Inbox::new(1));
            let sender = thread::spawn({
                let inbox = Arc::clone(&inbox);
                move || {
                    let mut displaced = Vec::new();
                    for n in 1..=2 {
                        match inbox.try_send(Envelope::new(Msg(n, overflow), None, 0)) {
                            Ok(Taken::Queued) => {}
                            Ok(Taken::Displaced(old)) => displaced.push(old.message.0),
                            Err(_) => panic!("refused"),
                        }
                    }
                    displaced
                }
            });
            let mut got = Vec::new();
            while got.last() != Some(&2) {
                got.push(receive(&inbox));
                inbox.change_receiver();
            }
            let mut all = sender.join().unwrap();
            all.extend(got);
            all.sort_unstable();
            assert_eq!(all, [1, 2]);
        });
    }
}

#[test]
fn closing_answers_who_waits_for_room() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new(1));
        assert!(inbox.try_send(plain(1)).is_ok());
        let sender = thread::spawn({
            let inbox = Arc::clone(&inbox);
            move || {
                let (mut ticket, mut envelope) = (None, Some(plain(2)));
                Bell::block_on(|cx| inbox.poll_send(cx, &mut ticket, &mut envelope)).is_err()
            }
        });
        inbox.close();
        assert!(sender.join().unwrap());
        assert_eq!(inbox.take_all().len(), 1);
    });
}

/// As an actor waits: flags, inbox, and the flags again once it has parked.
fn wait_for_drain(inbox: &Inbox<Msg>, flags: &Flags) -> u32 {
    let mut handled = 0;
    Bell::block_on(|cx| {
        loop {
            let seen = flags.get();
            match inbox.poll_receive(cx) {
                Poll::Ready(_) => handled += 1,
                Poll::Pending if flags.get() != seen => {}
                Poll::Pending if seen & DRAIN != 0 => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    handled
}

/// The shutdown latch: whenever it is set, the actor hears of it, after everything that was taken before.
#[test]
fn a_drain_reaches_an_actor_whatever_it_is_about_to_do() {
    loom::model(|| {
        let (inbox, flags) = (Arc::new(Inbox::new(8)), Arc::new(Flags::new()));
        let supervisor = thread::spawn({
            let (inbox, flags) = (Arc::clone(&inbox), Arc::clone(&flags));
            move || {
                let taken = u32::from(inbox.try_send(request(1)).is_ok());
                inbox.close();
                flags.raise(DRAIN);
                inbox.wake_receiver();
                taken
            }
        });
        let handled = wait_for_drain(&inbox, &flags);
        assert_eq!(handled, supervisor.join().unwrap());
    });
}

#[test]
fn an_answer_reaches_its_asker_once() {
    loom::model(|| {
        let slot = StdArc::new(Slot::new(None, None));
        let reply = Reply::new(StdArc::clone(&slot));
        let actor = thread::spawn(move || reply.send(7));
        assert_eq!(Bell::block_on(|cx| slot.poll(cx)), Ok(7));
        actor.join().unwrap();
    });
}

/// An answer and a failure race, as when an actor is given up while it answers: one of them arrives.
#[test]
fn of_an_answer_and_a_failure_one_arrives() {
    loom::model(|| {
        let slot = StdArc::new(Slot::new(None, None));
        let reply = Reply::new(StdArc::clone(&slot));
        let actor = thread::spawn(move || reply.send(7));
        let supervisor = thread::spawn({
            let slot = StdArc::clone(&slot);
            move || slot.fail(AskError::Stopped)
        });
        let got = Bell::block_on(|cx| slot.poll(cx));
        assert!(got == Ok(7) || got == Err(AskError::Stopped), "{got:?}");
        actor.join().unwrap();
        supervisor.join().unwrap();
    });
}

#[test]
fn an_asker_that_goes_is_seen_to_have_gone_and_the_answer_is_dropped() {
    loom::model(|| {
        let value = StdArc::new(());
        let slot = StdArc::new(Slot::new(None, None));
        let reply = Reply::new(StdArc::clone(&slot));
        let actor = thread::spawn({
            let value = StdArc::clone(&value);
            move || reply.send(value)
        });
        slot.close();
        assert!(!slot.is_live());
        actor.join().unwrap();
        assert_eq!(StdArc::strong_count(&value), 1);
    });
}
