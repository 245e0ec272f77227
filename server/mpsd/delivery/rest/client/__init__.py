"""An HTTP/1.1 client for one endpoint: names, addresses, TLS, connections, requests in flight. Knows no record."""
