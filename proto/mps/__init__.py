"""The wire contract. The modules named `*_pb2` are generated from the protos beside them."""
