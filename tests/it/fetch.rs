//! Remote sources over real sockets. Origins listen on loopback addresses of their own: one is allowed, the others
//! count their clients.

mod addresses;
mod bounds;
mod guard;
mod keeping;
pub mod origin;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use progimage::fetch::{Options, Resolver, Sources};

/// Where allowed origins of tests listen: a loopback address that the settings permit.
pub const PERMITTED: &str = "127.0.0.2";

/// Any host, the given ports, and of all addresses that are not public only [`PERMITTED`].
pub fn options(ports: &[u16]) -> Options {
    Options {
        allow: vec!["*".parse().unwrap()],
        ports: ports.to_vec(),
        private_allow: vec![format!("{PERMITTED}/32").parse().unwrap()],
        ..Options::default()
    }
}

/// A resolver that answers by name and by how often it was asked before.
fn resolver(answer: impl Fn(&str, usize) -> Vec<&'static str> + Send + Sync + 'static) -> Resolver {
    let asked = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    Arc::new(move |host| {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(host.clone()).or_default();
        let addresses: Vec<IpAddr> = answer(&host, *count).iter().map(|text| text.parse().unwrap()).collect();
        *count += 1;
        async move { Ok::<_, io::Error>(addresses) }.boxed()
    })
}

fn sources(options: &Options) -> Sources {
    Sources::new(options)
}
