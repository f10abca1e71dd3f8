//! [`Name`]: what the name of a file of the tier says.

use std::fmt;

use crate::digest::Digest;

/// The name of a file: of a rendition of `image` by key, or of a note that the rendition of `source` by key shows it.
pub struct Name {
    pub image: Digest,
    pub key: Digest,
    pub source: Option<Digest>,
}

impl Name {
    /// Reads the name of a file; `None` if it is not one of ours.
    pub fn read(name: &str) -> Option<Name> {
        let mut parts = name.split('.').map(|part| part.parse().ok());
        let (image, key) = (parts.next()??, parts.next()??);
        let source = match parts.next() {
            Some(source) => Some(source?),
            None => None,
        };
        parts.next().is_none().then_some(Name { image, key, source })
    }

    /// Source and key of the rendition that a note is about.
    pub fn shown(&self) -> Option<(Digest, Digest)> {
        Some((self.source?, self.key))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.image, self.key)?;
        self.source.map_or(Ok(()), |source| write!(f, ".{source}"))
    }
}
