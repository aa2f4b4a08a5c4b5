//! A page of a server in headless Chromium, which tells what it shows whenever that changes: a way between both that puts a script into the page.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::{Place, browser};

/// Longer than anything takes: a test that waits so long has failed.
const LONG: Duration = Duration::from_mins(2);

/// Tells that the page was loaded, and what it shows after each change.
const SCRIPT: &str = "<script>
const tell = (what) => fetch(\"/told\", { method: \"POST\", body: what });
addEventListener(\"load\", () => {
  tell(\"loaded\");
  new MutationObserver(() => tell(document.body.innerText)).observe(document.body, { subtree: true, childList: true, characterData: true });
});
</script>";

/// Says what axe-core finds in a page that is graver than moderate, in both themes, once there is a `WANTED` on it.
const JUDGED: &str = r#"<script>
addEventListener("load", async () => {
  while (!document.querySelector("WANTED")) await new Promise((later) => setTimeout(later, 50));
  const grave = [];
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.querySelector("tbody th button")?.click();
  for (const theme of ["light", "dark"]) {
    document.documentElement.style.colorScheme = theme;
    const { violations } = await axe.run();
    for (const found of violations.filter(({ impact }) => ["serious", "critical"].includes(impact))) {
      grave.push(`${theme}: ${found.id}: ${found.nodes.slice(0, 5).map((node) => node.html.slice(0, 160)).join(" | ")}`);
    }
  }
  document.body.append(Object.assign(document.createElement("pre"), { id: "said", textContent: "axe: " + JSON.stringify(grave) }));
});
</script>"#;

/// Scripts that judge a page by axe-core when an element is on it. It is nobody's dependency: FLOW_AXE names its script where there is one, as in CI.
pub fn axe(wanted: &str) -> Option<String> {
    let script = std::env::var_os("FLOW_AXE")?;
    let script = std::fs::read_to_string(script).expect("FLOW_AXE names axe.min.js");
    Some(format!("<script>{script}</script>{}", JUDGED.replace("WANTED", wanted)))
}

pub struct Watched {
    browser: Child,
    told: Receiver<String>,
    shown: String,
    loads: usize,
}

impl Watched {
    /// Opens a path of the server on a port of this machine; none if there is no Chromium.
    pub fn open(place: &Place, port: u16, path: &str) -> Option<Self> {
        Self::open_with(place, port, path, "")
    }

    /// The same with further scripts.
    pub fn open_with(place: &Place, port: u16, path: &str, scripts: &str) -> Option<Self> {
        let program = browser()?;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let local = listener.local_addr().expect("an address");
        let address = format!("http://{local}{path}");
        let (tell, told) = channel();
        let page = path.to_owned();
        let scripts = format!("{SCRIPT}{scripts}");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, page, scripts) = (tell.clone(), page.clone(), scripts.clone());
                // A browser that has gone away is no error.
                std::thread::spawn(move || drop(pass(stream, port, (&page, &scripts), &tell)));
            }
        });
        let mut command = Command::new(program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
        ]);
        // Two browsers of one profile are one.
        let profile = place.path(&format!("watching-{}", local.port()));
        command.arg(format!("--user-data-dir={}", profile.display()));
        command.arg(address).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self {
            browser: command.spawn().expect("it starts"),
            told,
            shown: String::new(),
            loads: 0,
        })
    }

    /// What it shows.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits until it shows all of these at once; gives how often the page was loaded so far.
    #[track_caller]
    pub fn shows(&mut self, wanted: &[&str]) -> usize {
        while !wanted.iter().all(|text| self.shown.contains(text)) {
            match self.told.recv_timeout(LONG) {
                Ok(told) if told == "loaded" => self.loads += 1,
                Ok(told) => self.shown = told,
                Err(error) => panic!("the page never shows {wanted:?} ({error}), but\n{}", self.shown),
            }
        }
        self.loads
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

/// Passes one request on and its answer back; what the page tells ends here.
fn pass(
    mut browser: TcpStream,
    port: u16,
    (page, scripts): (&str, &str),
    tell: &Sender<String>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(browser.try_clone()?);
    let (mut head, mut length, mut first) = (String::new(), 0, String::new());
    lines.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or((line.trim(), ""));
        match name.to_ascii_lowercase().as_str() {
            "" => break,
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "host" | "connection" | "origin" => continue,
            _ => {}
        }
        head += &line;
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body)?;
    if first.contains(" /told ") {
        browser.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
        let _ = tell.send(String::from_utf8_lossy(&body).into_owned());
        return Ok(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    write!(
        server,
        "{first}Host: 127.0.0.1:{port}\r\nConnection: close\r\n{head}\r\n"
    )?;
    server.write_all(&body)?;
    if !first.contains(&format!(" {page} ")) {
        std::io::copy(&mut server, &mut browser)?;
        return Ok(());
    }
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    let (_, shown) = answer.split_once("\r\n\r\n").unwrap_or(("", &answer));
    // The page's policy would let no other script run.
    let policy = regex::Regex::new("<meta http-equiv=\"Content-Security-Policy\"[^>]*>").expect("a pattern");
    let shown = policy
        .replace(shown, "")
        .replacen("<head>", &format!("<head>{scripts}"), 1);
    write!(
        browser,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        shown.len()
    )
}
