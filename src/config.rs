//! Configuration: composes each layer's `Options` from flags, environment and a TOML file. Not a place for defaults of a layer.
