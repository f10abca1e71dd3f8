//! The edge: routes and handlers. The only module that names server HTTP types.
