//! How clients and other nodes find a gateway. Owns what a node says about itself and the answers made of it; keeps no
//! connection and no list of others. The routes of `ingress::http` show it.

pub mod node;
