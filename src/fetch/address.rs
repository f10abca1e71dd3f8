//! Decides which addresses belong to the public internet. Pure: no name is looked up here.
//!
//! Source: the IANA special-purpose address registries for IPv4 and IPv6, and RFC 6890. Addresses that are not globally
//! reachable are refused. So is every IPv6 form that leads to an IPv4 address, whatever that is: no public server needs
//! one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

type Network<A> = (A, u32);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u32) -> Network<Ipv4Addr> {
    (Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(a: u16, b: u16, c: u16, bits: u32) -> Network<Ipv6Addr> {
    (Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

const REFUSED_V4: &[Network<Ipv4Addr>] = &[
    v4(0, 0, 0, 0, 8),        // "this network", unspecified
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier-grade NAT; metadata of one cloud
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // metadata of one cloud, inside a public network
    v4(169, 254, 0, 0, 16),   // link-local; metadata of most clouds
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 31, 196, 0, 24),  // AS112
    v4(192, 52, 193, 0, 24),  // AMT
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(192, 175, 48, 0, 24),  // AS112
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
];

/// The only space from which public addresses are allocated. Outside are the unspecified and the loopback address,
/// v4-mapped and v4-compatible ones, NAT64 (both prefixes), discard-only, unique-local, link-local, site-local and
/// multicast addresses.
const GLOBAL_V6: Network<Ipv6Addr> = v6(0x2000, 0, 0, 3);

const REFUSED_V6: &[Network<Ipv6Addr>] = &[
    v6(0x2001, 0, 0, 23),         // protocol assignments: Teredo, benchmarks, ORCHID
    v6(0x2001, 0xdb8, 0, 32),     // documentation
    v6(0x2002, 0, 0, 16),         // 6to4
    v6(0x2620, 0x4f, 0x8000, 48), // AS112
    v6(0x3fff, 0, 0, 20),         // documentation
];

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|(network, bits)| {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= *bits
        }),
        IpAddr::V6(address) => {
            let inside = |(network, bits): &Network<Ipv6Addr>| {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= *bits
            };
            inside(&GLOBAL_V6) && !REFUSED_V6.iter().any(inside) && !is_isatap(address)
        }
    }
}

/// Whether an address holds an IPv4 address after `0:5efe`, or after `200:5efe` if it is globally unique, under any
/// prefix (RFC 5214, 6.1).
fn is_isatap(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[4] & !0x0200 == 0 && segments[5] == 0x5efe
}
