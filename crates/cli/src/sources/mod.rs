//! `oracle-node sources`

mod parse;
mod test;

use std::process::ExitCode;

use concurrence_sources::{Channel, Venue};

/// Look at the venues: what is known of them, what a recorded answer says, and what they say now.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Channels(ChannelsArgs),
    Parse(parse::Args),
    Test(test::Args),
}

/// List the venues and their channels: the values of `--venue` and `--channel`.
#[derive(clap::Args)]
struct ChannelsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Channels(args) => Ok(channels(args.json)),
            Command::Parse(args) => args.run(),
            Command::Test(args) => args.run(),
        }
    }
}

fn channels(json: bool) -> ExitCode {
    if json {
        let rows: Vec<_> = Channel::all()
            .map(|channel| {
                serde_json::json!({
                    "venue": channel.venue().name(), "channel": channel.name(), "transport": transport(channel),
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
    } else {
        println!("{:<10} {:<18} transport", "venue", "channel");
        for channel in Channel::all() {
            println!("{:<10} {:<18} {}", channel.venue().name(), channel.name(), transport(channel));
        }
    }
    ExitCode::SUCCESS
}

fn transport(channel: Channel) -> &'static str {
    if channel.stream_rules().is_some() { "websocket" } else { "rest" }
}

/// A channel by the names of [`channels`].
fn channel(venue: &str, channel: &str) -> anyhow::Result<Channel> {
    let venues = || Venue::ALL.map(Venue::name).join(", ");
    let venue: Venue = venue.parse().map_err(|()| anyhow::anyhow!("venue {venue:?} is none of {}", venues()))?;
    let names = || {
        let names: Vec<_> = Channel::all().filter(|channel| channel.venue() == venue).map(Channel::name).collect();
        names.join(", ")
    };
    Channel::named(venue, channel)
        .ok_or_else(|| anyhow::anyhow!("channel {channel:?} of {venue} is none of {}", names()))
}
