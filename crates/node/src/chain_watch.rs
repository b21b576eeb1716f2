//! One source on a chain watched: every so often its contracts are read at one block on which two nodes agree.

use std::time::Duration;

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use concurrence_sources::onchain::{Chain, ChainConfigError, ChainError};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tracing::warn;

use crate::{
    config::{ChainRead, ChainSource},
    driver::{Command, wall_ms},
};

/// Longest time for one request to a node: five of them make a reading, within half of Ethereum's time between blocks on a good day.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The two nodes of a source.
pub(crate) fn chain(source: &ChainSource) -> Result<Chain, ChainConfigError> {
    Chain::new([source.rpc_urls[0].expose(), source.rpc_urls[1].expose()], TIMEOUT)
}

/// Hands prices on until the driver is gone.
pub(crate) async fn run(source: ChainSource, chain: Chain, commands: mpsc::Sender<Command>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(source.poll_interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (read, result) in read(&source, &chain).await {
            match result {
                Ok(quote) => {
                    if commands.send(Command::Quote(source.source, read.symbol.clone(), quote)).await.is_err() {
                        return;
                    }
                }
                Err(error) => warn!(source = source.name, symbol = read.symbol, %error, "no quote"),
            }
        }
    }
}

/// All contracts of a source at one block.
pub(crate) async fn read<'a>(
    source: &'a ChainSource,
    chain: &Chain,
) -> Vec<(&'a ChainRead, Result<Quote, ChainError>)> {
    let block = chain.block(source.depth).await;
    let mut all = Vec::with_capacity(source.reads.len());
    for read in &source.reads {
        let result = match &block {
            Ok(block) => match chain.call(&read.address, &read.contract.call(), block).await {
                Ok(body) => read.contract.parse(&body, block, Time::from_ms(wall_ms())).map_err(ChainError::from),
                Err(error) => Err(error),
            },
            Err(error) => Err(error.clone()),
        };
        all.push((read, result));
    }
    all
}
