//! Services that speak to each other over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails where it can't go on")]

mod common;

use alys_p2p::{
    BlockRange, BlockRoots, Discovery, Event, NetworkConfig, Offence, Refusal, Request, RequestError, Response, Verdict,
};
use alys_primitives::{Height, Root, VariableList};
use common::{CHAIN, Running, approval, config, status};
use std::time::Duration;

/// A line: `middle` knows both ends, which do not know each other.
async fn line() -> (Running, Running, Running) {
    let middle = Running::start(config(1, Vec::new()));
    let way = middle.address().await;
    let (one, two) = (Running::start(config(2, vec![way.clone()])), Running::start(config(3, vec![way])));
    middle.until_ready(2).await;
    one.until_ready(1).await;
    two.until_ready(1).await;
    // Gossip needs the subscriptions too, which follow the handshake.
    tokio::time::sleep(Duration::from_millis(700)).await;
    (one, middle, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_passed_on_after_the_verdict_and_not_before() {
    let (one, mut middle, mut two) = line().await;
    let message = approval(1);
    one.handle.publish(message.clone()).unwrap();
    let Event::Gossip { id, message: heard } = middle.next().await else { panic!("gossip") };
    assert_eq!((heard, id.from()), (message.clone(), one.id));
    two.silent().await;
    middle.handle.judge(id, Verdict::Accept).unwrap();
    let Event::Gossip { id, message: heard } = two.next().await else { panic!("gossip") };
    assert_eq!((heard, id.from()), (message, middle.id));

    let bad = approval(2);
    one.handle.publish(bad).unwrap();
    let Event::Gossip { id, .. } = middle.next().await else { panic!("gossip") };
    middle.handle.judge(id, Verdict::Reject).unwrap();
    two.silent().await;
    let blamed = one.id;
    middle.until("the blame", |view| view.peers.iter().any(|peer| peer.peer == blamed && peer.penalty > 20.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_rules_again_is_not_listened_to_any_more() {
    let (one, mut middle, two) = line().await;
    for member in 0..2 {
        one.handle.publish(approval(member)).unwrap();
        let Event::Gossip { id, .. } = middle.next().await else { panic!("gossip") };
        middle.handle.judge(id, Verdict::Reject).unwrap();
    }
    let offender = one.id;
    middle
        .until("the score", |view| view.peers.iter().any(|peer| peer.peer == offender && peer.gossip_score < -80.0))
        .await;
    one.handle.publish(approval(7)).unwrap();
    middle.silent().await;
    two.handle.publish(approval(8)).unwrap();
    let Event::Gossip { id, message } = middle.next().await else { panic!("gossip") };
    assert_eq!((id.from(), message), (two.id, approval(8)), "the other peer is heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_by_the_node_within_bounds() {
    let mut server = Running::start(config(1, Vec::new()));
    let client = Running::start(config(2, vec![server.address().await]));
    client.until_ready(1).await;
    let range = Request::BlocksByRange(BlockRange { start: Height(5), count: 9 });
    let (asked, ()) = tokio::join!(client.handle.ask(server.id, range.clone()), async {
        let Event::Request { id, request, .. } = server.next().await else { panic!("a request") };
        assert_eq!(request, range);
        server.handle.answer(id, Response::Blocks(Box::default())).unwrap();
    });
    assert_eq!(asked.unwrap(), Response::Blocks(Box::default()));

    for bad in [
        Request::BlocksByRange(BlockRange { start: Height(5), count: 0 }),
        Request::BlocksByRange(BlockRange { start: Height(5), count: 100_000 }),
        Request::CertificatesByRoot(BlockRoots::default()),
    ] {
        let answer = client.handle.ask(server.id, bad.clone()).await;
        assert!(matches!(answer, Err(RequestError::Refused(Refusal::OutOfBounds))), "{bad:?}: {answer:?}");
    }
    server.silent().await;
    let stranger = alys_p2p::Identity::from_secret(&[9; 32]).unwrap().peer_id();
    let status = Request::Status(status(CHAIN, 0));
    assert!(matches!(client.handle.ask(stranger, status).await, Err(RequestError::NotConnected)));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_questions_are_refused_and_held_against_the_asker() {
    let server = Running::start(config(1, Vec::new()));
    let client = Running::start(config(2, vec![server.address().await]));
    client.until_ready(1).await;
    let roots = BlockRoots { roots: VariableList::new(vec![Root::ZERO]).unwrap() };
    let mut refused = 0;
    for _ in 0..40 {
        // Nobody answers: the fifth is refused as busy, those beyond the quota as too many.
        let asked = client.handle.ask(server.id, Request::CertificatesByRoot(roots.clone()));
        if let Ok(Err(RequestError::Refused(refusal))) = tokio::time::timeout(Duration::from_millis(20), asked).await {
            refused += u32::from(refusal == Refusal::TooMany);
        }
    }
    assert!(refused > 0, "no question was one too many");
    let asker = client.id;
    server.until("the blame", |view| view.peers.iter().any(|peer| peer.peer == asker && peer.penalty > 0.5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_chain_is_sent_away() {
    let server = Running::start(config(1, Vec::new()));
    let other = NetworkConfig { genesis_root: Root::repeat_byte(0xbb), ..config(2, vec![server.address().await]) };
    let other = Running::start(other);
    // Who reads the other's status first hangs up, so that the second may never learn why.
    tokio::select! {
        _ = server.until("the ban", |view| view.banned == 1) => {}
        _ = other.until("the ban", |view| view.banned == 1) => {}
    }
    server.until("the end", |view| view.peers.is_empty()).await;
    other.until("the end", |view| view.ready().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_peer_is_reached_again_after_it_was_away() {
    let first = Running::start(config(1, Vec::new()));
    let way = first.address().await;
    let client = Running::start(config(2, vec![way.clone()]));
    client.until_ready(1).await;
    first.stop().await;
    client.until("the loss", |view| view.peers.is_empty()).await;
    let again = Running::start(NetworkConfig { listen: vec![way.address], ..config(1, Vec::new()) });
    client.until_ready(1).await;
    again.until_ready(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_carries_as_well_as_tcp() {
    let listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()];
    let server = Running::start(NetworkConfig { listen, ..config(1, Vec::new()) });
    let client = Running::start(config(2, vec![server.address().await]));
    client.until_ready(1).await;
    server.until_ready(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_that_peers_see_follows_the_node() {
    let server = Running::start(config(1, Vec::new()));
    let client = Running::start(config(2, vec![server.address().await]));
    server.handle.set_status(status(CHAIN, 77)).unwrap();
    let wanted = server.id;
    client
        .until("the height", |view| {
            view.ready().any(|(peer, status)| peer.peer == wanted && status.head_height == Height(77))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_a_limit_and_listed_peers_have_places_of_their_own() {
    let listed = config(9, Vec::new());
    let known = alys_p2p::PeerAddress {
        peer: listed.identity.peer_id(),
        // It is never dialled there: it comes by itself.
        address: "/ip4/127.0.0.1/tcp/1".parse().unwrap(),
    };
    let mut settings = config(1, vec![known]);
    settings.limits.strangers = 2;
    let server = Running::start(settings);
    let way = server.address().await;
    let strangers: Vec<Running> = (2..6).map(|seed| Running::start(config(seed, vec![way.clone()]))).collect();
    server.until_ready(2).await;
    let friend = Running::start(NetworkConfig { peers: vec![way], ..listed });
    friend.until_ready(1).await;
    let view = server.until("three peers", |view| view.ready().count() == 3).await;
    assert!(view.peers.iter().any(|peer| peer.listed));
    let inside = strangers.iter().filter(|stranger| stranger.handle.view().borrow().ready().count() == 1).count();
    assert_eq!(inside, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_holds_against_a_peer_counts() {
    let server = Running::start(config(1, Vec::new()));
    let client = Running::start(config(2, vec![server.address().await]));
    server.until_ready(1).await;
    for _ in 0..5 {
        server.handle.blame(client.id, Offence::Useless).unwrap();
    }
    server.until("the ban", |view| view.banned == 1 && view.peers.is_empty()).await;
}

/// A node that knows one boot node.
fn newcomer(seed: u8, boot: &alys_p2p::PeerAddress) -> Running {
    let discovery = Discovery { bootnodes: vec![boot.clone()], kademlia: true, ..Discovery::default() };
    Running::start(NetworkConfig { discovery, ..config(seed, Vec::new()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_find_each_other_by_a_boot_node_and_only_on_their_own_chain() {
    let kademlia = Discovery { kademlia: true, ..Discovery::default() };
    let boot = Running::start(NetworkConfig { discovery: kademlia, ..config(1, Vec::new()) });
    let way = boot.address().await;
    let (one, two) = (newcomer(2, &way), newcomer(3, &way));
    for (here, there) in [(&one, &two), (&two, &one)] {
        here.until("finding the other", |view| view.ready().any(|(peer, _)| peer.peer == there.id)).await;
        let view = here.handle.view().borrow().clone();
        assert!(view.peers.iter().all(|peer| !peer.listed), "nobody has a reserved place");
    }
    // A node of another chain and the boot node part, whoever sees it first, and its name is told to nobody.
    let discovery = Discovery { bootnodes: vec![way], kademlia: true, ..Discovery::default() };
    let other = NetworkConfig { genesis_root: Root::repeat_byte(0xbb), discovery, ..config(4, Vec::new()) };
    let other = Running::start(other);
    tokio::select! {
        _ = boot.until("sending it away", |view| view.banned > 0) => {}
        _ = other.until("sending it away", |view| view.banned > 0) => {}
    }
    let third = newcomer(5, &boot.address().await);
    third.until_ready(3).await;
    assert!(third.handle.view().borrow().peers.iter().all(|peer| peer.peer != other.id));
}

/// Set in the process that has a network of its own.
const INSIDE: &str = "ALYS_TEST_LOCAL_NETWORK";

/// Multicast never goes through loopback, so the two nodes meet in a network namespace with an interface of its own.
#[test]
fn nodes_of_one_local_network_find_each_other_by_multicast() {
    if std::env::var_os(INSIDE).is_some() {
        return two_nodes_meet();
    }
    let name = "nodes_of_one_local_network_find_each_other_by_multicast";
    let test = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up && ip link add v0 type veth peer name v1 && ip addr add 10.99.0.1/24 dev v0 \
         && ip link set v0 up && ip link set v1 up || exit 99; {INSIDE}=1 exec {} --exact {name} --nocapture",
        test.display()
    );
    let run = std::process::Command::new("unshare").args(["--net", "--", "sh", "-c", &script]).output();
    let output = match run {
        Ok(output) => output,
        Err(error) => return alys_vectors::skip(&format!("mDNS needs `unshare` ({error})")),
    };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !text.contains(name) {
        return alys_vectors::skip(&format!("mDNS needs a network namespace ({})", text.trim()));
    }
    assert!(output.status.success(), "{text}");
}

fn two_nodes_meet() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let discovery = Discovery { mdns: true, ..Discovery::default() };
        let listen = vec!["/ip4/10.99.0.1/tcp/0".parse().unwrap()];
        let start = |seed| {
            let (discovery, listen) = (discovery.clone(), listen.clone());
            Running::start(NetworkConfig { discovery, listen, ..config(seed, Vec::new()) })
        };
        let (one, two) = (start(1), start(2));
        one.until_ready(1).await;
        two.until_ready(1).await;
    });
}
