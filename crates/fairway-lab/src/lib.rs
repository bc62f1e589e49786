//! Labs: throw-away sets of network namespaces that play hosts on LANs.
