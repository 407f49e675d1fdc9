//! A whole node inside a program of one's own: a one-member chain in a temporary folder, driven through typed handles.
//!
//! `cargo run -p alys-node --example embedded` prints what happens to the chain until a bundle is final, then stops the
//! node in order.

use alys_chain::{ChainConfig, ChainEvent};
use alys_node::chain_files::{ChainFiles, member};
use alys_node::clock::wall_now;
use alys_node::config::Config;
use alys_node::dev_accounts::dev_accounts;
use alys_node::key_files::generate_key;
use alys_node::{DevBitcoin, NodeBuilder, Validator};
use alys_primitives::Members;
use alys_store::signing::{RecordIdentity, SigningRecord, Watermarks};
use std::error::Error;
use tokio::sync::broadcast::error::RecvError;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let payout = dev_accounts()?.first().map(|account| account.address);

    // A chain: one member, slots of one second, from now on.
    let key = generate_key()?;
    let members = Members::new(vec![member(&key, payout.unwrap_or_default())]).map_err(|_| "too many members")?;
    let files = ChainFiles::dev(members, wall_now().0 / 1000, 1)?;

    // A new key has signed nothing: its record begins empty, here and never again.
    let record = folder.path().join("signing-record");
    let genesis_root = files.spec.genesis_root();
    let identity = RecordIdentity { genesis_root, public_key: key.public_key().to_bytes().into() };
    drop(SigningRecord::create(&record, &identity, &Watermarks::default())?);

    let mut config = Config::default();
    config.node.data_dir = folder.path().join("data");
    config.rpc.listen.set_port(0);
    config.rpc.mining = true;
    config.metrics.listen.set_port(0);
    let node = NodeBuilder::new(config, files)
        .validator(Validator { key, record })
        .dev_bitcoin(DevBitcoin { miner_payout: payout })
        .chain_config(ChainConfig { production_lead: 0, ..ChainConfig::default() })
        .start()
        .await?;
    println!("listening: {:?}", *node.listening.borrow());

    let mut events = node.events.subscribe();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            ended = node.ended() => return Err(format!("the node stopped by itself: {ended}").into()),
        };
        match event {
            Ok(event) => {
                println!("{event:?}");
                if matches!(event, ChainEvent::Finalized { .. }) {
                    break;
                }
            }
            Err(RecvError::Lagged(missed)) => println!("{missed} events were missed"),
            Err(RecvError::Closed) => break,
        }
    }
    println!("{:?}", node.shutdown().await);
    Ok(())
}
