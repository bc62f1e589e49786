//! The page in a real browser: what is clicked, typed and pressed, and what is shown for it.

use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use fairway_lab::Lab;
use serde_json::json;

use super::browser::Browser;
use super::{PATIENCE, Ui};
use crate::harness::{Sandbox, Stage, eventually};

/// Two sandboxes on one network, one on another, and a browser with the page.
struct Town {
    stage: Stage,
    sandboxes: Vec<Sandbox>,
    ui: Ui,
    browser: Browser,
}

/// A container in the picture.
fn node(name: &str) -> String {
    format!("#picture [data-name=\"{name}\"]")
}

/// Whether a text is somewhere in an element.
fn shows(selector: &str, text: &str) -> String {
    format!("document.querySelector({})?.innerText.includes({})", json!(selector), json!(text))
}

/// Keeps a screenshot for people to look at, in `target/tmp/ui`.
fn keep(name: &str, png: &[u8]) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(format!("{name}.png")), png).unwrap();
}

impl Town {
    fn new(lab: &Lab) -> Self {
        let stage = Stage::new(lab, &[]);
        stage.network("app");
        let sandboxes = vec![
            stage.sandbox("web", &["app"], &["8080:80"]),
            stage.sandbox("db", &["app"], &[]),
            stage.sandbox("job", &["bridge"], &[]),
        ];
        let ui = Ui::start(&stage, &["--no-open"]);
        let browser = Browser::start(&stage.host);
        let mut town = Self { stage, sandboxes, ui, browser };
        town.browser.look(1280, 800, "light");
        town.open("");
        town
    }

    /// Opens the address that was printed, with more in its fragment.
    fn open(&mut self, more: &str) {
        let url = format!("{}/#token={}{more}", self.ui.origin, self.ui.token);
        self.browser.open("about:blank");
        self.browser.requests.retain(|url| url != "about:blank");
        self.browser.open(&url);
        self.browser.wait_for("document.querySelector('#picture [data-name=web]')");
    }

    fn assert_content(&mut self) {
        self.browser.requests.retain(|url| url != "about:blank");
        self.browser.assert_content(&self.ui.origin);
    }
}

#[test]
fn two_containers_are_clicked_and_the_way_between_them_is_shown() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        let _server = fairway_lab::serve_tcp(&town.sandboxes[1], "0.0.0.0:5432").unwrap();
        let browser = &mut town.browser;
        assert_eq!(browser.text("location.hash"), "", "the token is not in the address");
        browser.click(&node("web"));
        browser.wait_for(&shows("#hint", "From web"));
        browser.click(&node("db"));
        browser.wait_for(&shows("#panel-explain", "web → db"));
        browser.wait_for(&shows("#panel-explain", "Answered"));
        assert_eq!(browser.text("decodeURIComponent(location.hash)"), "#explain=web→db");
        let steps = browser.value("document.querySelectorAll('#panel-explain .step').length");
        assert_eq!(steps, browser.value("document.querySelectorAll('#picture .badge[data-number]').length"));
        assert!(steps.as_u64() > Some(2), "{steps}");
        assert!(browser.value("document.querySelectorAll('#picture .trail').length").as_u64() > Some(0));

        // Typed, with a port; in the packet's way is a rule of another network.
        browser.value("document.querySelector('#to').focus(); document.querySelector('#to').select()");
        browser.write("job:80");
        browser.press("Enter");
        browser.wait_for(&shows("#panel-explain", "web → job:80"));
        browser.wait_for(&shows("#panel-explain", "Not answered"));
        browser.wait_for(
            "[...document.querySelectorAll('#panel-explain .advice code')].map((it) => it.innerText).join() \
            === 'fairway network connect bridge web,fairway publish job 80:80'",
        );
        for (width, height) in [(320, 900), (1280, 800)] {
            browser.look(width, height, "dark");
            browser.value("new Promise((done) => setTimeout(done, 200))");
            keep(&format!("dropped-{width}"), &browser.screenshot());
        }
        browser.click("#panel-explain .step");
        browser.wait_for("document.querySelector('#picture .badge.lit')");

        // A link leads to the same, as does the way back.
        browser.value("history.back()");
        browser.wait_for(&shows("#panel-explain", "web → db"));
        town.open("&explain=web→db:5432");
        town.browser.wait_for(&shows("#panel-explain", "web → db:5432"));
        town.browser.wait_for(&shows("#panel-explain .sentence", "answered"));
        town.open("&explain=web→nowhere:80");
        town.browser.wait_for(&shows("#panel-explain .error", "cannot find \"nowhere\""));
        // The browser reports the answer 400 as an error of its own.
        town.browser.errors.retain(|error| !error.contains("status of 40"));
        town.assert_content();
    });
}

#[test]
fn the_keyboard_alone_is_enough() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        let browser = &mut town.browser;
        let focused = |name: &str| format!("document.activeElement.dataset.name === {}", json!(name));
        browser.press_until("Tab", "document.activeElement.closest('#picture')");
        assert_eq!(browser.text("document.activeElement.getAttribute('role')"), "button");
        browser.press_until("ArrowDown", &focused("host"));
        browser.press_until(
            "ArrowDown",
            "!['host', 'lan:10.10.50.1'].includes(document.activeElement.dataset.name)",
        );
        browser.press_until("ArrowLeft", "['web', 'db'].includes(document.activeElement.dataset.name)");
        browser.press_until("ArrowRight", &focused("job"));
        browser.press("Enter");
        browser.wait_for(&shows("#hint", "From job"));
        browser.press_until("ArrowLeft", &focused("web"));
        browser.press(" ");
        browser.wait_for(&shows("#panel-explain", "job → web"));
        browser.wait_for("document.activeElement.closest('#picture')");
        browser.press_until("Tab", "document.activeElement.id === 'tab-explain'");
        browser.press_until("Tab", "document.activeElement.matches('.step')");
        browser.wait_for("document.querySelector('#picture .badge.lit')?.dataset.number === '1'");
        browser.press("ArrowDown");
        browser.wait_for("document.querySelector('#picture .badge.lit')?.dataset.number === '2'");
        browser.press("Escape");
        browser.wait_for(&shows("#panel-explain", "Where does a packet go?"));
        browser.press("/");
        browser.wait_for("document.activeElement.id === 'from'");
        browser.write("db");
        browser.press_until("Tab", "document.activeElement.id === 'to'");
        browser.write("web:80");
        browser.press("Enter");
        browser.wait_for(&shows("#panel-explain", "db → web:80"));
        browser.press_until("Tab", "document.activeElement.id === 'tab-explain'");
        browser.press("ArrowRight");
        browser.wait_for("document.activeElement.id === 'tab-containers'");
        browser.press("/");
        browser.write("job");
        browser.wait_for(&shows("#panel-containers", "1 of 3 containers"));
        town.assert_content();
    });
}

#[test]
fn what_changes_is_shown_without_being_asked_for() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        town.browser.look(2000, 1000, "light");
        let _late = town.stage.sandbox("late", &["app"], &["9090:90"]);
        town.browser.wait_for("document.querySelector('#picture [data-name=late]')");
        town.browser.click("#tab-containers");
        town.browser.wait_for(&shows("#panel-containers tbody", "0.0.0.0:9090->90/tcp"));
        town.browser.click("#panel-containers thead th:nth-child(2) button");
        town.browser.wait_for(
            "document.querySelector('#panel-containers [aria-sort=ascending]')?.innerText.includes('Engine')",
        );
        town.browser.value("document.querySelector('#panel-containers input').focus()");
        town.browser.write("9090");
        town.browser.wait_for("location.hash === '#containers=9090'");
        assert_eq!(
            town.browser.value("document.querySelectorAll('#panel-containers tbody tr').length"),
            json!(1)
        );
        town.stage.client().detach("late").unwrap();
        town.browser.wait_for("!document.querySelector('#picture [data-name=late]')");
        // Its namespace is still there, with its name.
        town.browser.wait_for(&shows("#panel-containers", "0 of 4 containers"));
        town.browser.click("#tab-findings");
        town.browser.wait_for("document.querySelectorAll('#panel-findings .finding').length > 3");
        town.assert_content();
    });
}

#[test]
fn many_sandboxes_are_one_box_until_each_is_wanted() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        let _many: Vec<_> =
            (0..14).map(|number| town.stage.sandbox(&format!("job{number}"), &["app"], &[])).collect();
        let (browser, boxes) = (&mut town.browser, "document.querySelectorAll('#picture .collapsed').length");
        // One is in the legend.
        browser.wait_for(&format!("{boxes} === 2"));
        assert_eq!(browser.value("document.querySelector('#picture [data-name=job3]')"), json!(null));
        keep("collapsed", &browser.screenshot());
        // Those of the way of a packet are drawn, and the others can be asked for all the same.
        browser.wait_for(
            "[...document.querySelectorAll('#endpoints option')].some((it) => it.value === 'job3')",
        );
        browser.value("document.querySelector('#from').focus()");
        browser.write("job3");
        browser.value("document.querySelector('#to').focus()");
        browser.write("web");
        browser.press("Enter");
        browser.wait_for(&shows("#panel-explain", "job3 → web"));
        browser.wait_for("document.querySelector('#picture [data-name=job3]')");
        assert_eq!(browser.value(boxes), json!(2));
        // A container that is looked for is drawn.
        browser.click("#tab-containers");
        browser.click("#panel-containers [aria-label='Show job9 in the picture']");
        browser.wait_for(
            "document.querySelector('#picture [data-name=job9]')?.getAttribute('tabindex') === '0'",
        );
        browser.wait_for(&format!("{boxes} === 0"));
        browser.click("#expand[aria-pressed=true]");
        browser.wait_for(&format!("{boxes} === 2"));
        town.assert_content();
    });
}

#[test]
fn a_live_trace_is_paused_and_filtered() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        let web = (town.sandboxes[0].address("app"), 80);
        let _server = fairway_lab::serve_tcp(&town.sandboxes[0], "0.0.0.0:80").unwrap();
        town.open("&trace=→web:80");
        let (browser, host) = (&mut town.browser, town.stage.host.clone());
        assert_eq!(browser.text("document.querySelectorAll('#panel-trace .field input')[1].value"), "web:80");
        browser.click("#panel-trace button.primary");
        browser.wait_for(&shows("#panel-trace button.primary", "Stop"));
        let packets = "document.querySelectorAll('#panel-trace .packets li').length";
        eventually("packets are shown", PATIENCE, || {
            host.run_in(|| TcpStream::connect(web)).unwrap().unwrap();
            browser.value(packets).as_u64() > Some(2)
        });
        browser.click("#panel-trace .packets summary");
        browser.wait_for(
            "document.querySelector('#panel-trace .packets details[open] .timeline')?.innerText.includes('µs')",
        );
        keep("packets", &browser.screenshot());
        browser.click("#panel-trace .filter button");
        browser.wait_for(&shows("#panel-trace .filter button", "Resume"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        let before = browser.value(packets);
        host.run_in(|| TcpStream::connect(web)).unwrap().unwrap();
        browser.wait_for(&shows("#panel-trace .note", "paused, "));
        assert_eq!(browser.value(packets), before);
        browser.click("#panel-trace .filter button");
        browser.wait_for(&format!("{packets} > {before}"));
        browser.value("document.querySelector('#panel-trace .filter input').focus()");
        browser.write("no such words");
        browser.wait_for(&format!("{packets} === 0"));
        browser.click("#panel-trace button.primary");
        browser.wait_for(&shows("#panel-trace .note", "Stopped"));
        town.assert_content();
    });
}

#[test]
fn the_token_is_asked_for_where_it_is_missing() {
    fairway_lab::run(|lab| {
        let mut town = Town::new(lab);
        let (origin, token) = (town.ui.origin.clone(), town.ui.token.clone());
        let browser = &mut town.browser;
        browser.value("localStorage.clear()");
        browser.open(&format!("{origin}/?#explain=web→db"));
        browser.wait_for("document.querySelector('#token').open");
        assert_eq!(browser.value("document.querySelectorAll('#picture [data-name]').length"), json!(0));
        keep("token", &browser.screenshot());
        browser.write(&format!("{origin}/#token={token}"));
        browser.press("Enter");
        browser.wait_for(&shows("#panel-explain", "Answered"));
        browser.errors.retain(|error| !error.contains("status of 401"));
        town.assert_content();
    });
}

/// The texts of the page whose contrast is below that of WCAG 2 AA (1.4.3).
const PALE: &str = r"(() => {
    const parts = (text) => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((it) => it / 255)
        .map((it) => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4)
        .reduce((sum, it, index) => sum + it * [0.2126, 0.7152, 0.0722][index], 0);
    const ground = (it) => {
        for (let at = it; at; at = at.parentElement) {
            const [r, g, b, alpha = 1] = parts(getComputedStyle(at).backgroundColor);
            if (alpha === 1) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const pale = [];
    for (const it of document.querySelectorAll('body *:not(svg *)')) {
        const own = [...it.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || !it.checkVisibility() || it.disabled || it.closest('svg')) continue;
        const [one, other] = [light(parts(getComputedStyle(it).color)), light(ground(it))].sort((a, b) => b - a);
        if ((one + 0.05) / (other + 0.05) < 4.5) pale.push(`${it.className || it.tagName}: ${it.innerText.slice(0, 40)}`);
    }
    return pale;
})()";

/// Elements that reach beyond the sides of the window.
const TOO_WIDE: &str = "[...document.querySelectorAll('body *:not(svg *)')].filter((it) => it.checkVisibility() \
    && !it.closest('.scroll, .tabs') && it.getBoundingClientRect().right > innerWidth + 1).map((it) => it.id || it.className)";

#[test]
fn three_hundred_containers_are_shown_in_all_sizes_and_themes() {
    fairway_lab::run(|lab| {
        let stage = Stage::new(lab, &["--default-address-pool", "base=172.20.0.0/14,size=24"]);
        let networks: Vec<String> = (0..12).map(|number| format!("team-{number:02}")).collect();
        networks.iter().for_each(|name| drop(stage.network(name)));
        let kinds = ["web", "api", "db", "cache", "queue"];
        let sandboxes: Vec<Sandbox> = (0..300)
            .map(|number| {
                let name = format!("{}-{number:03}", kinds[number % kinds.len()]);
                let port = format!("{}:80", 20_000 + number);
                let published: &[&str] = if number % kinds.len() == 0 { &[&port] } else { &[] };
                stage.sandbox(&name, &[&networks[number % networks.len()]], published)
            })
            .collect();
        let _server = fairway_lab::serve_tcp(&sandboxes[0], "0.0.0.0:80").unwrap();
        let ui = Ui::start(&stage, &["--no-open"]);
        let mut browser = Browser::start(&stage.host);
        browser.look(1280, 800, "light");
        let began = Instant::now();
        browser.open(&format!("{}/#token={}", ui.origin, ui.token));
        browser.wait_for("document.querySelector('#expand').checkVisibility()");
        keep("three-hundred-collapsed", &browser.screenshot());
        browser.click("#expand");
        browser.wait_for("document.querySelectorAll('#picture [data-name]').length >= 302");
        println!("300 containers are drawn {} ms after the page was opened", began.elapsed().as_millis());
        browser.wait_for("document.querySelector('#tab-containers .count').textContent === '300'");
        let redraw = browser.value(
            "(async () => { const before = performance.now(); location.hash = '#explain=lan→10.10.50.99:20000'; \
             while (!document.querySelector('#panel-explain .step')) await new Promise(requestAnimationFrame); \
             return Math.round(performance.now() - before); })()",
        );
        println!("a way among 300 containers is shown after {redraw} ms");
        let views = [
            ("way", "#explain=lan→10.10.50.99:20000", "document.querySelector('#panel-explain .step')"),
            ("picture", "#explain", "document.querySelector('#panel-explain h2')"),
            (
                "containers",
                "#containers",
                "document.querySelectorAll('#panel-containers tbody tr').length === 300",
            ),
            ("findings", "#findings", "document.querySelector('#panel-findings .finding')"),
            ("trace", "#trace=web-000→", "document.querySelector('#panel-trace').checkVisibility()"),
        ];
        for theme in ["light", "dark"] {
            for (width, height) in [(320, 640), (1280, 800), (2560, 1440)] {
                browser.look(width, height, theme);
                for (name, link, is_shown) in views {
                    browser.value(&format!("location.hash = {}", json!(link)));
                    browser.wait_for(is_shown);
                    browser
                        .value("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))");
                    keep(&format!("{name}-{width}-{theme}"), &browser.screenshot());
                    let view = format!("{name} at {width}, {theme}");
                    assert_eq!(
                        browser.value("document.documentElement.scrollWidth <= innerWidth"),
                        json!(true),
                        "{view}"
                    );
                    assert_eq!(browser.value(TOO_WIDE), json!([]), "{view}");
                    assert_eq!(browser.value(PALE), json!([]), "{view}");
                }
            }
        }
        browser.assert_content(&ui.origin);
    });
}
