//! The tokens of Rust source text, as far as [`super::scan`] needs them.

/// Words, `::` and single marks. Comments, string literals and the `r#` of words are left out.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (token, len) = next(rest);
        tokens.extend(token);
        rest = &rest[len..];
    }
    tokens
}

/// The first token, unless it is left out, and how many bytes it takes.
fn next(text: &str) -> (Option<&str>, usize) {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let word = word(text);
    if let Some(len) = comment(text).or_else(|| literal(text)) {
        (None, len)
    } else if text.starts_with("r#") && self::word(&text[2..]) > 0 {
        let len = self::word(&text[2..]);
        (Some(&text[2..2 + len]), 2 + len)
    } else if word > 0 {
        (Some(&text[..word]), word)
    } else if text.starts_with("::") {
        (Some("::"), 2)
    } else if text.starts_with(char::is_whitespace) {
        (None, first)
    } else {
        (Some(&text[..first]), first)
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

/// Length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut at = text.starts_with("/*").then_some(2)?;
    let mut depth = 1;
    while depth > 0 && at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(at)
}

/// Length of the string, byte string or character that begins here. A lifetime is none of these: its mark and its word
/// are tokens.
fn literal(text: &str) -> Option<usize> {
    let plain = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - plain.len();
    if let Some(raw) = plain.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let len = body.find(&end).map_or(body.len(), |at| at + end.len());
            return Some(prefix + 1 + hashes + 1 + len);
        }
    }
    if plain.starts_with('"') {
        return Some(prefix + escaped(plain, '"'));
    }
    let rest = plain.strip_prefix('\'')?;
    let one = rest.chars().next()?;
    let is_character = one == '\\' || rest[one.len_utf8()..].starts_with('\'');
    is_character.then(|| prefix + escaped(plain, '\''))
}

/// Length up to the next `end` after the first that no `\` precedes.
fn escaped(text: &str, end: char) -> usize {
    let mut marks = text.char_indices().skip(1);
    while let Some((at, mark)) = marks.next() {
        if mark == '\\' {
            marks.next();
        } else if mark == end {
            return at + 1;
        }
    }
    text.len()
}
