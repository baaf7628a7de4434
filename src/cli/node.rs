//! Which instances a command asks.

use clap::Args;

use super::Failure;
use crate::config::NodeAddress;
use crate::fleet::{Fleet, Node};

/// Which instances are asked.
#[derive(Clone, Debug, Args)]
pub(super) struct NodeArgs {
    /// Admin address of an instance, http://host:port or host:port; can be repeated: several are one fleet.
    /// `dns+http://name:port` is every address of the name, looked up anew at each call.
    #[arg(
        long = "node",
        value_name = "URL",
        env = "BRIDGE_NODES",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:3002"
    )]
    nodes: Vec<String>,
    /// Bearer token of the admin side.
    #[arg(long, env = "BRIDGE_ADMIN__TOKEN", hide_env_values = true, default_value = "")]
    token: String,
}

impl NodeArgs {
    /// The instances that the arguments name, as one.
    pub(super) fn fleet(&self) -> Result<Fleet, Failure> {
        let address = |given: &String| {
            given.parse::<NodeAddress>().map_err(|must| Failure::Usage(format!("--node {given}: {must}")))
        };
        let addresses = self.nodes.iter().map(address).collect::<Result<_, _>>()?;
        Ok(Fleet::new(addresses, &self.token)?)
    }

    /// Each of them at this moment.
    pub(super) async fn resolve(&self) -> Result<Vec<Node>, Failure> {
        Ok(self.fleet()?.nodes().await)
    }
}
