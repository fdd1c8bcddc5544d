"""scapy, imported without its start-up warnings, for reading captures.

Independent of Greyhound's own wire code, so it may judge what that code sent.
Only Debian's /usr/bin/python3 has it (package python3-scapy).
"""

import logging
import warnings

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
logging.getLogger("scapy.loading").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=DeprecationWarning)

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402,F401
from scapy.layers.inet6 import IPv6  # noqa: E402,F401
from scapy.layers.l2 import ARP, GRE, Ether  # noqa: E402,F401
from scapy.packet import Raw  # noqa: E402,F401
from scapy.utils import rdpcap  # noqa: E402,F401
