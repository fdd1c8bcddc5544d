"""The pcap cases, one function each; see `../generate.py`."""
