"""Where a web request may go: names, ports and every address behind a name, so no request turns inward."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tether.gateway.options import EgressOptions

__all__ = ["Denied", "Target", "check_target", "is_public", "matches", "resolve"]

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")  # one cloud has its metadata there, and older Pythons call it global

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Denied(Exception):
    """The request may not go there; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A host (lower case, no brackets, no last dot) and a TCP port."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As it stands in a Host header on port 80."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether host is one of these, or under one of them."""
    names = (pattern.lower().strip(".").removeprefix("*.") for pattern in patterns)
    return any(name and (host == name or host.endswith(f".{name}")) for name in names)


def check_target(target: Target, options: EgressOptions, prohibited: Sequence[str]) -> None:
    """Raises Denied for a host or port that may not be reached, whatever its addresses."""
    if matches(target.host, options.deny) or matches(target.host, prohibited):
        raise Denied(f"{target.host} is prohibited")
    if options.allow and not matches(target.host, options.allow):
        raise Denied(f"{target.host} is not among the allowed hosts")
    if target.port not in options.ports and not _private_allowed(target, options):
        raise Denied(f"port {target.port} is not among the allowed ports")


def _private_allowed(target: Target, options: EgressOptions) -> bool:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return f"{host}:{target.port}" in options.allow_private


def is_public(address: Address) -> bool:
    """Whether the address, and the IPv4 address inside it if there is one, belongs to the public Internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(inner)
        if address in _SITE_LOCAL:
            return False
    elif address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in a mapped, translated, 6to4, Teredo or compatible one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


async def resolve(target: Target, options: EgressOptions) -> list[tuple[int, str]]:
    """(family, address) to connect to, every one of them checked; raises Denied.

    The system's resolver also reads 0x7f000001, 2130706433 and the like, so what is checked is what would be connected to.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Denied(f"{target.host} has no address") from None
    addresses = [(int(family), str(where[0])) for family, _, _, _, where in found]
    if not _private_allowed(target, options):
        for _, text in addresses:
            if not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise Denied(f"{target.host} is not on the public Internet")
    return addresses
