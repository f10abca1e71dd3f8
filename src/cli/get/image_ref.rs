//! [`ImageRef`]: an image as the command line names it, `ID[.ext][?query]`, and the name of its file in a folder.

use std::str::FromStr;

use crate::digest::Digest;
use crate::pipeline::codec::{CODECS, is_auto};

/// Hex digits of a query's hash in a file name: enough that two renditions of one image do not collide.
const QUERY_DIGITS: usize = 8;

/// An original or a rendition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    text: String,
    /// The id of the image.
    pub id: Digest,
    extension: Option<String>,
    query: Option<String>,
}

impl FromStr for ImageRef {
    type Err = String;

    fn from_str(text: &str) -> Result<ImageRef, String> {
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query.to_owned())));
        let (id, extension) = path.split_once('.').map_or((path, None), |(id, ext)| (id, Some(ext.to_owned())));
        let id = id.parse().map_err(|_| "an id is 64 lower-case hexadecimal digits".to_owned())?;
        // These would make another path, or one that cannot be sent.
        let odd = |c: char| c == '/' || c == '#' || c.is_control() || c == ' ';
        if extension.as_ref().is_some_and(|extension| extension.is_empty() || extension.contains(odd)) {
            return Err("expected .webp or another extension after the id".to_owned());
        }
        Ok(ImageRef { text: text.to_owned(), id, extension, query })
    }
}

impl ImageRef {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the bytes must hash to the id.
    pub fn is_original(&self) -> bool {
        self.extension.is_none()
    }

    /// The file name: the id, eight digits of the query's hash if there is a query, and the extension. Without an
    /// extension, or with `.auto`, it is that of the answer's media type.
    pub fn file_name(&self, media_type: &str) -> String {
        let mut name = self.id.to_string();
        if let Some(query) = &self.query {
            name.push('-');
            name.push_str(&Digest::of(query.as_bytes()).hex().as_str()[..QUERY_DIGITS]);
        }
        let known =
            CODECS.iter().find(|codec| codec.media_type == media_type).and_then(|codec| codec.extensions.first());
        let asked = self.extension.as_deref().filter(|extension| !is_auto(extension));
        if let Some(extension) = asked.or(known.copied()) {
            name.push('.');
            name.push_str(extension);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_names_its_file() {
        let id = Digest::of(b"a").to_string();
        let name = |rest: &str| {
            let image: ImageRef = format!("{id}{rest}").parse().expect(rest);
            image.file_name("image/jpeg").strip_prefix(&id).expect("the id").to_owned()
        };
        assert_eq!([name(""), name(".webp"), name(".auto"), name(".AUTO")], [".jpg", ".webp", ".jpg", ".jpg"]);
        let (small, large) = (name(".png?w=30"), name(".png?w=300"));
        assert!(small.len() == 13 && small.ends_with(".png") && small != large, "{small} {large}");
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        let id = Digest::of(b"a").to_string();
        for bad in [&id[1..], "", &format!("{id}."), &format!("{id}./../x"), &format!("/images/{id}")] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}
