//! Where an address is, by the registries of addresses. Whether it is gone to is [`super`]'s to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address is, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Anywhere in the world.
    Public,
    /// In a private network.
    Private,
    /// On this machine.
    Loopback,
    /// On this link, where machines keep their metadata; or no machine's address at all.
    Never,
}

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(address) => Self::of_v4(address),
                None => Self::of_v6(address),
            },
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, third, _] = address.octets();
        if address.is_loopback() {
            Self::Loopback
        } else if first == 0
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
        {
            Self::Never
        } else if address.is_private()
            // Shared by a provider's customers (RFC 6598), protocol assignments, and benchmarks (RFC 2544).
            || (first == 100 && second & 0xc0 == 64)
            || (first, second, third) == (192, 0, 0)
            || (first == 198 && second & 0xfe == 18)
        {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        // The metadata services of AWS and of Google have addresses that are private and no link's own.
        const METADATA: [Ipv6Addr; 2] = [
            Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
            Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        ];
        let first = address.segments()[0];
        if address.is_loopback() {
            Self::Loopback
        } else if address.is_unspecified()
            || address.is_multicast()
            || first & 0xffc0 == 0xfe80
            || METADATA.contains(&address)
        {
            Self::Never
        } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
            Self::Private
        } else {
            Self::Public
        }
    }
}

/// The IPv4 address that one of IPv6 stands for: mapped (RFC 4291), translated (RFC 6052), or by way of a relay (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(v4(high, low))
        }
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_the_registries_say() {
        for (reach, addresses) in [
            (
                Reach::Public,
                &[
                    "8.8.8.8",
                    "172.32.0.1",
                    "100.128.0.1",
                    "2606:4700::1111",
                    "::ffff:8.8.8.8",
                ][..],
            ),
            (
                Reach::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "192.168.1.1",
                    "100.64.0.1",
                    "fd12::1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "2002:a00:1::",
                ],
            ),
            (
                Reach::Loopback,
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1",
                ],
            ),
            (
                Reach::Never,
                &[
                    "169.254.169.254",
                    "169.254.170.2",
                    "0.0.0.0",
                    "255.255.255.255",
                    "224.0.0.1",
                    "fe80::1",
                    "::",
                    "ff02::1",
                    "fd00:ec2::254",
                    "::ffff:169.254.169.254",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(Reach::of(address.parse().unwrap()), reach, "{address}");
            }
        }
    }
}
