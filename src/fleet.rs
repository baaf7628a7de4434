//! Many instances as one: asked, judged and moved together, over their admin sides.
//!
//! There is no leader and no store of its own: what a fleet decides is that every instance was asked and answered.

mod evidence;
mod movement;
mod node;
mod relay;
mod report;
mod rollback;
mod status;

use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::Method;
use serde_json::Value;

use crate::config::NodeAddress;

pub use evidence::{Pool, Seen, pooled};
pub use movement::{Event, Move};
pub use node::{Answer, NO_CONNECTION, Node, said};
pub use relay::{Batch, FleetRelay, Identity, Inbox, Receipt};
pub use report::{NodeReport, Outcome, Report};
pub use status::{FleetView, NodeView};

/// Most instances that are asked at once.
const AT_ONCE: usize = 64;
/// A question, and a rollback, is a matter of 2 s; a preflight may take 12 s.
pub const ASK: Duration = Duration::from_secs(10);
const PREFLIGHT: Duration = Duration::from_secs(30);

/// The instances of a fleet, by their admin addresses.
#[derive(Clone, Debug)]
pub struct Fleet {
    addresses: Vec<NodeAddress>,
    token: String,
    http: reqwest::Client,
}

impl Fleet {
    /// The instances of `addresses`, whose admin sides take `token`.
    ///
    /// # Errors
    /// When the system gives no HTTP client.
    pub fn new(addresses: Vec<NodeAddress>, token: &str) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            // Below what the other end keeps an idle connection for.
            .pool_idle_timeout(Duration::from_secs(30))
            // The token is for the instance alone.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { addresses, token: token.into(), http })
    }

    /// The addresses, as they were given.
    #[must_use]
    pub fn given(&self) -> Vec<String> {
        self.addresses.iter().map(|address| address.given().to_owned()).collect()
    }

    /// One instance of it.
    #[must_use]
    pub fn node(&self, url: &str) -> Node {
        Node::new(url, &self.token, &self.http)
    }

    /// All instances at this moment: names are looked up anew. A name that can't be is an instance that is not reached.
    pub async fn nodes(&self) -> Vec<Node> {
        let lookups = self.addresses.iter().map(|address| self.nodes_of(address));
        let mut nodes = futures::future::join_all(lookups).await.concat();
        let mut known = std::collections::HashSet::new();
        nodes.retain(|node| known.insert(node.url.clone()));
        nodes
    }

    async fn nodes_of(&self, address: &NodeAddress) -> Vec<Node> {
        match address.urls().await {
            Ok(urls) => urls.iter().map(|url| self.node(url)).collect(),
            Err(reason) => vec![self.node(address.given()).without(reason)],
        }
    }
}

/// The same call to every instance, many at once, in their order. `told` hears of each answer as it comes: one that
/// hangs must not hide what the others did.
pub async fn ask(
    nodes: &[Node],
    method: &Method,
    path: &str,
    body: Option<&Value>,
    limit: Duration,
    told: impl Fn(&Node, &Answer),
) -> Vec<Answer> {
    each(nodes, |node| {
        let told = &told;
        async move {
            let answer = node.call(method.clone(), path, body.cloned(), limit).await;
            told(node, &answer);
            answer
        }
    })
    .await
}

/// Does `work` with every instance, many at once; the results in their order.
async fn each<'a, T, F: Future<Output = T>>(nodes: &'a [Node], work: impl Fn(&'a Node) -> F) -> Vec<T> {
    let works: Vec<F> = nodes.iter().map(work).collect();
    stream::iter(works).buffered(AT_ONCE).collect().await
}
