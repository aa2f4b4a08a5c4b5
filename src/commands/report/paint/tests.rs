use super::*;

/// A drawing of one element, on black.
fn drawn(element: &str) -> String {
    format!(
        "<svg width=\"40\" height=\"20\"><title>t</title><style>.line {{ stroke: currentColor; fill: none; stroke-width: 4; }} text {{ font-size: 16px; }}</style>{element}</svg>"
    )
}

/// Red, green, blue and opacity of a pixel.
fn pixel(element: &str, x: u32, y: u32) -> [u8; 4] {
    let text = drawn(element);
    let painting = Painting::read(&text).expect("a drawing");
    let png = tiny_skia::Pixmap::decode_png(&painting.png(1.0).expect("a picture")).expect("PNG");
    let found = png.pixel(x, y).expect("inside").demultiply();
    [found.red(), found.green(), found.blue(), found.alpha()]
}

#[test]
fn shapes_lie_where_transforms_put_them_in_the_colours_of_rules_and_groups() {
    let box_at = "<g transform=\"translate(20 10) rotate(90) scale(.5)\" style=\"color:#ff0000\"><rect fill=\"currentColor\" width=\"8\" height=\"8\"/></g>";
    // Turned by a right angle, what lay to the right lies below, and what lay below to the left.
    assert_eq!(pixel(box_at, 18, 12), [255, 0, 0, 255]);
    assert_eq!(pixel(box_at, 22, 12)[3], 0);
    let line = "<g style=\"color:#0000ff\"><polyline class=\"line\" points=\"0,10 40,10\"/></g>";
    assert_eq!(pixel(line, 20, 11), [0, 0, 255, 255]);
    assert_eq!(pixel(line, 20, 14)[3], 0, "it is 4 wide, and not filled");
    let faint = "<rect width=\"100%\" height=\"100%\" fill=\"#00ff00\" opacity=\".5\"/>";
    assert_eq!(pixel(faint, 39, 19)[3], 128);
    let round = "<rect width=\"20\" height=\"20\" rx=\"8\" fill=\"#00ff00\"/>";
    assert_eq!((pixel(round, 0, 0)[3], pixel(round, 10, 0)[3]), (0, 255));
}

#[test]
fn text_is_as_wide_as_its_letters_and_ends_where_it_is_anchored() {
    let fonts = Fonts::read().expect("fonts");
    let one = fonts.regular.width("8", 16.0);
    assert!(one > 5.0 && (fonts.regular.width("888", 16.0) - 3.0 * one).abs() < 1e-3);
    assert!(fonts.bold.width("wide", 16.0) > fonts.regular.width("wide", 16.0));
    // A letter that fills its box.
    let ended = "<text x=\"40\" y=\"16\" text-anchor=\"end\">█M</text>";
    let inked = |from: u32, to: u32| (from..to).any(|x| pixel(ended, x, 10)[3] > 0);
    assert!(inked(27, 40) && !inked(0, 8));
}

#[test]
fn letters_that_no_font_has_are_named() {
    let text = drawn("<text>猫 cat → Ωж猫</text>");
    assert_eq!(Painting::read(&text).expect("a drawing").missing(), "猫");
}

#[test]
fn a_pdf_has_its_fonts_and_letters_in_it_and_is_the_same_each_time() {
    let text = drawn("<text y=\"16\">88</text><circle cx=\"9\" cy=\"9\" r=\"4\" opacity=\".25\"/>");
    let painting = Painting::read(&text).expect("a drawing");
    let pdf = painting.pdf();
    assert_eq!(pdf, painting.pdf());
    let file = String::from_utf8_lossy(&pdf);
    assert!(file.starts_with("%PDF-"), "{file}");
    for part in [
        "/BaseFont /Inter-Regular",
        "/FontFile2",
        "/ToUnicode",
        "/ca 0.25",
        "/MediaBox [0 0 30 15]",
    ] {
        assert!(file.contains(part), "{part} is not in {file}");
    }
    assert!(!file.contains("SemiBold"), "a font that is not used is not in it");
}
