//! The Plan: the exact set of kernel objects, sockets, files and name records that follow from a World.

mod object;

pub use object::{
    BridgeLink, ElementValue, FileName, Fragment, InsideRoutes, Key, Object, Owner, PortSocket, SetElement,
    SocketUse, VethLink,
};
