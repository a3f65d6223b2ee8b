"""An address to listen at, as one text."""

__all__ = ["parse_address"]


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9100``, ``localhost:9100`` or ``[::1]:9100``; port 0 is any free one.

    Raises:
        ValueError: it is none of them.
    """
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or (":" in bare and bare == host):
        raise ValueError(f"an address is host:port, as in 127.0.0.1:9100 or [::1]:9100, got {address!r}")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"the port of an address is a number from 0 to 65535, got {address!r}")
    return bare, int(port)
