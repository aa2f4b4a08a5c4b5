//! Cuts a text into words.

/// The words of a text in order, in small letters. A word is a run of letters and digits, with apostrophes inside it; every other
/// visible character stands for itself.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let joins = matches!(c, '\'' | '\u{2019}')
            && !word.is_empty()
            && characters.peek().is_some_and(|next| next.is_alphanumeric());
        if c.is_alphanumeric() || joins {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() && !c.is_control() {
            words.push(c.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_runs_of_letters_and_signs_stand_alone() {
        assert_eq!(
            words("Am I my brother's keeper?"),
            ["am", "i", "my", "brother's", "keeper", "?"]
        );
        assert_eq!(
            words("  'Tis 3,000\tyears -- "),
            ["'", "tis", "3", ",", "000", "years", "-", "-"]
        );
        assert_eq!(words("ÄRGER über\u{2019}s"), ["ärger", "über\u{2019}s"]);
        assert!(words(" \t").is_empty());
    }
}
