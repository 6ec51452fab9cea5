//! The page people see: a QR code and a link for Molly, what to do with them, and what looks wrong. Works without
//! JavaScript; a few lines of it compare the browser's address with the link's and copy the link. Everything that comes
//! from a request is escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::public_url::{Address, PASS_ON_HOST};
use crate::link::{self, Link};

const TEMPLATE: &str = include_str!("page.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");

/// The Content-Security-Policy of the page: nothing but its own style and script, by hash, and its empty icon.
pub(crate) fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(CSS),
        hash(JS),
    )
}

/// The page for phones that register by themselves. `vapid` is the public key.
pub(crate) fn webserver(address: Result<Address, String>, vapid: &str) -> String {
    let mut content = String::from("<p>Wakes Molly when there are new messages.</p>\n");
    match address {
        Ok(address) => {
            let link = Link::Webserver(address.url.clone()).to_text(vapid);
            for doubt in &address.doubts {
                content += &warning(&format!(
                    "{doubt} To correct it, open this page by the server's public name, or {REMEDY}"
                ));
            }
            content += &differences(&address);
            content += &scannable(&link);
            content += STEPS;
            content += &format!(
                "<h2>Is this address right?</h2>\n<p>The link tells Molly to register at <strong>{}</strong>. {} If \
                 that is not how your phone reaches this server, {REMEDY}</p>\n",
                escape(address.url.as_str()),
                address.source,
            );
        }
        Err(why) => content += &warning(&format!("{why} To correct it, {REMEDY}")),
    }
    content += "<p>No way for the phone to reach this server? <a href=\"?airgapped\">Link it air-gapped.</a></p>";
    fill(&content)
}

/// The page for accounts added by hand.
pub(crate) fn airgapped(vapid: &str) -> String {
    let mut content = String::from(
        "<p>Air-gapped: the phone never talks to this server; you carry one line of text from it to here.</p>\n",
    );
    content += &scannable(&Link::Airgapped.to_text(vapid));
    content += AIRGAPPED_STEPS;
    content += "<p>The phone can reach this server? <a href=\"?\">Link it by the web.</a></p>";
    fill(&content)
}

const STEPS: &str = "<h2>What to do</h2>\n<ol>\n\
    <li>On the phone, install a UnifiedPush distributor, for example ntfy.</li>\n\
    <li>In Molly, open Settings, Notifications, and choose UnifiedPush as the delivery method.</li>\n\
    <li>Scan the code with Molly. Reading this on that phone? Tap the link instead.</li>\n\
    <li>Molly shows the status OK, and a test notification arrives.</li>\n</ol>\n";

const AIRGAPPED_STEPS: &str = "<h2>What to do</h2>\n<ol>\n\
    <li>In Molly, open Settings, Notifications, choose UnifiedPush and scan the code, or tap the link.</li>\n\
    <li>Molly gives you a line that begins with <code>connection add</code>. Copy it.</li>\n\
    <li>On the server, run <code>mollysocket connection add -</code>, paste that line, and press Enter.</li>\n\
    <li>A test notification arrives. If the line changes later, Molly tells you; add it again.</li>\n</ol>\n";

const REMEDY: &str = "set <code>public_url</code> (<code>MOLLY_PUBLIC_URL</code>), or let the reverse proxy pass on the \
    <code>Host</code> header and, under a sub-path, send the path in <code>X-Original-URL</code> or \
    <code>X-Forwarded-Prefix</code>.";

/// What the script shows when the browser came by another address than the link names: only the browser knows what it
/// was asked for before a proxy changed it.
fn differences(address: &Address) -> String {
    let configured = "If phones reach this server the way you did, correct <code>public_url</code> \
                      (<code>MOLLY_PUBLIC_URL</code>).";
    let host = format!(
        "The reverse proxy does not pass on the <code>Host</code> header: {PASS_ON_HOST}, or set \
                        <code>public_url</code>."
    );
    let path = "The reverse proxy does not say which path it was asked for. Let it send that path in \
                <code>X-Original-URL</code>, with nginx by <code>proxy_set_header X-Original-URL $request_uri;</code>, \
                or the part it takes off in <code>X-Forwarded-Prefix</code>, or set <code>public_url</code>.";
    let (host, path) = if address.configured { (configured, configured) } else { (&*host, path) };
    let note = |what, remedy| {
        format!(
            "<div class=\"warn differs\" role=\"note\" data-differs=\"{what}\" hidden><p>Your browser opened this page at \
             <strong data-here></strong>, but the link names <strong>{}</strong>. {remedy}</p></div>\n",
            escape(address.url.as_str()),
        )
    };
    note("host", host) + &note("path", path)
}

fn warning(html: &str) -> String {
    format!("<div class=\"warn\" role=\"note\"><p>{html}</p></div>\n")
}

fn scannable(link: &str) -> String {
    let text = escape(link);
    let code = match link::qr_svg(link) {
        Ok(svg) => {
            // An XML declaration means nothing inside HTML.
            let at = svg.find("<svg").unwrap_or(0);
            format!("<div class=\"qr\" role=\"img\" aria-label=\"QR code of the link below\">{}</div>\n", &svg[at..])
        }
        Err(error) => warning(&escape(&error.to_string())),
    };
    format!(
        "{code}<a class=\"link\" href=\"{text}\">{text}</a>\n<button class=\"copy\" type=\"button\" hidden>Copy the \
         link</button>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            other => escaped.push(other),
        }
    }
    escaped
}

/// Puts the content into the template. One pass, so that nothing in the content is taken for a mark.
fn fill(content: &str) -> String {
    let mut page = String::with_capacity(TEMPLATE.len() + CSS.len() + JS.len() + content.len());
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page += before;
        page += match name {
            "css" => CSS,
            "js" => JS,
            "version" => env!("CARGO_PKG_VERSION"),
            _ => content,
        };
        rest = after;
    }
    page + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::public_url::{Hints, public_url};

    fn page(hints: Hints<'_>) -> String {
        webserver(public_url(None, hints), &"v".repeat(87))
    }

    #[test]
    fn escaping_leaves_no_markup() {
        assert_eq!(escape("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
    }

    #[test]
    fn the_template_has_exactly_the_marks_that_are_filled() {
        let page = fill("{{version}}<!-- content -->");
        assert_eq!(page.matches("{{").count(), 1, "the content's own braces stay as they are");
        assert!(page.contains("<!-- content -->") && page.contains("--back:"));
        assert!(page.contains(concat!("Version ", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn the_policy_allows_the_style_and_the_script_and_nothing_else() {
        let page = fill("");
        let hash = |from: &str, to: &str| {
            let text = page.split_once(from).unwrap().1.split_once(to).unwrap().0;
            STANDARD.encode(Sha256::digest(text))
        };
        let (style, script) = (hash("<style>", "</style>"), hash("<script>", "</script>"));
        let policy = policy();
        assert!(policy.starts_with(&format!(
            "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:; "
        )));
        assert!(!policy.contains("unsafe") && page.matches("<script").count() == 1 && !page.contains(" onclick"));
        assert!(!page.contains("style=") && !page.contains("http://") && !page.contains("https://"));
    }

    #[test]
    fn without_a_host_there_is_no_link_but_an_explanation() {
        for hints in [Hints::default(), Hints { host: Some("<b>"), ..Hints::default() }] {
            let page = page(hints);
            assert!(!page.contains("mollysocket://") && !page.contains("<svg") && !page.contains("<b>"));
            assert!(page.contains("<code>Host</code>") && page.contains("public_url"));
        }
        let page = page(Hints { host: Some("h.example"), original_url: Some("x"), ..Hints::default() });
        assert!(!page.contains("mollysocket://") && page.contains("X-Original-URL"));
    }
}
