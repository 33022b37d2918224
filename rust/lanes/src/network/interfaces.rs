//! The addresses of this machine.

use std::io;
use std::net::Ipv4Addr;

/// The IPv4 addresses by which other machines may reach this one, each with the name of its interface.
///
/// # Errors
/// As the operating system gives them.
pub fn interfaces() -> io::Result<Vec<(String, Ipv4Addr)>> {
    let all = if_addrs::get_if_addrs()?.into_iter();
    let reachable = all.filter(|interface| !interface.is_loopback());
    Ok(reachable
        .filter_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(address) => Some((interface.name, address.ip)),
            if_addrs::IfAddr::V6(_) => None,
        })
        .collect())
}
