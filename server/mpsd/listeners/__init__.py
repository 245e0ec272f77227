"""Everything a port needs before anyone may use it: an address, encryption, tokens and roles, and bounds."""
