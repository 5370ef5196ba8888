//! The demo page in a real browser.

use serde_json::json;

use crate::support::browser::{Browser, Tab};
use crate::support::*;

/// Fills a field of the page and lets the page know.
fn fill(browser: &mut Browser, tab: &Tab, id: &str, value: &str) {
    let value = json!(value);
    browser.evaluate(
        tab,
        &format!(
            "(() => {{ const field = document.getElementById('{id}'); field.value = {value}; \
         for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()"
        ),
    );
}

fn click(browser: &mut Browser, tab: &Tab, id: &str) {
    browser.evaluate(tab, &format!("document.getElementById('{id}').click()"));
}

/// Opens the page and logs in.
fn login(browser: &mut Browser, gateway: &Gateway, mid: &str, key: &str, room: &str) -> Tab {
    let tab = browser.open(&format!("http://{}/", gateway.http()));
    for (id, value) in [("mid", mid), ("key", key), ("room", room), ("accepts", "1000,1001")] {
        fill(browser, &tab, id, value);
    }
    click(browser, &tab, "login");
    eventually("the page is logged in", || (gateway.push_key(key, 1001, "are you there?") == 1).then_some(()));
    tab
}

/// Whether the page shows a message with this text.
fn shows(text: &str) -> String {
    format!("document.getElementById('messages').innerText.includes({})", json!(text))
}

/// Two tabs in one room: a push from a third place appears in both, one from the page's own form too; a tab that
/// changes its room gets the messages of its new room only.
#[test]
fn a_push_appears_in_two_tabs() {
    let gateway = Gateway::start();
    let mut browser = Browser::start();
    let tabs = [
        login(&mut browser, &gateway, "1", "tab-one", "live://demo"),
        login(&mut browser, &gateway, "2", "tab-two", "live://demo"),
    ];
    assert_eq!(gateway.push_room("live://demo", 1000, "hello from a third place"), 2);
    for tab in &tabs {
        browser.wait_for(tab, &shows("hello from a third place"));
        browser.wait_for(tab, &shows("1000"));
    }
    browser.wait_for(&tabs[0], "document.getElementById('online').textContent.includes('2')");

    // From the form of the first tab to everybody in the room.
    let room =
        browser.evaluate(&tabs[0], "[...document.getElementById('push-target').options].map(option => option.value)");
    assert!(room.as_array().is_some_and(|targets| targets.contains(&json!("room"))), "{room}");
    for (id, value) in
        [("push-target", "room"), ("push-value", "live://demo"), ("push-op", "1000"), ("push-body", "from the form ✓")]
    {
        fill(&mut browser, &tabs[0], id, value);
    }
    click(&mut browser, &tabs[0], "push-send");
    for tab in &tabs {
        browser.wait_for(tab, &shows("from the form ✓"));
    }
    browser.wait_for(&tabs[0], "/2/.test(document.getElementById('push-result').textContent)");

    // The second tab moves to another room.
    fill(&mut browser, &tabs[1], "room", "live://other");
    click(&mut browser, &tabs[1], "change-room");
    eventually("the tab has moved", || {
        (gateway.push_room("live://other", 1000, "only for the second") >= 1).then_some(())
    });
    browser.wait_for(&tabs[1], &shows("only for the second"));
    assert_eq!(gateway.push_room("live://demo", 1000, "only for the first"), 1);
    browser.wait_for(&tabs[0], &shows("only for the first"));
    assert_eq!(gateway.push_room("live://other", 1000, "end"), 1);
    browser.wait_for(&tabs[1], &shows("end"));
    assert_eq!(browser.evaluate(&tabs[1], &shows("only for the first")), json!(false));
    assert_eq!(browser.evaluate(&tabs[0], &shows("only for the second")), json!(false));
}

/// Where tokens are configured the page asks for one, and shows counts and pushes once it has it.
#[test]
fn the_page_works_with_a_token() {
    let gateway = Gateway::with("push_token = \"page-0123456789abcdef\"");
    let mut client = Transport::Tcp.login(&gateway, 0, "", "live://demo", &[]);
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", gateway.http()));
    browser.wait_for(&tab, "!document.getElementById('push-token-field').hidden");
    fill(&mut browser, &tab, "push-token", "page-0123456789abcdef");
    browser.wait_for(&tab, "document.getElementById('count-connections').textContent === '1'");
    for (id, value) in [("push-target", "room"), ("push-value", "live://demo"), ("push-body", "with a token")] {
        fill(&mut browser, &tab, id, value);
    }
    click(&mut browser, &tab, "push-send");
    browser.wait_for(&tab, "document.getElementById('push-result').textContent.includes('matched 1')");
    assert_eq!(client.receive().text(), "with a token");
}

/// What is pushed is shown as text, never as markup of the page.
#[test]
fn messages_are_text_and_never_markup() {
    let gateway = Gateway::start();
    let mut browser = Browser::start();
    let tab = login(&mut browser, &gateway, "1", "tab", "live://demo");
    let markup = "<img src=x onerror=\"window.broken=1\"><b>bold</b>";
    assert_eq!(gateway.push_room("live://demo", 1000, markup), 1);
    browser.wait_for(&tab, &shows(markup));
    assert_eq!(browser.evaluate(&tab, "document.querySelectorAll('#messages img, #messages b').length"), json!(0));
    assert_eq!(browser.evaluate(&tab, "typeof window.broken"), json!("undefined"));
}

/// The page can be used with the keyboard alone: every control is reached by Tab, the login and a push happen by Enter.
#[test]
fn the_page_works_by_keyboard() {
    let gateway = Gateway::start();
    let mut browser = Browser::start();
    let tab = browser.open(&format!("http://{}/", gateway.http()));
    let go_to = |browser: &mut Browser, id: &str| {
        for _ in 0..60 {
            browser.press(&tab, "Tab");
            if browser.evaluate(&tab, "document.activeElement && document.activeElement.id") == json!(id) {
                return;
            }
        }
        panic!("Tab never reaches #{id}");
    };
    let type_into = |browser: &mut Browser, id: &str, text: &str| {
        go_to(browser, id);
        browser.evaluate(&tab, "document.activeElement.select()");
        browser.type_text(&tab, text);
    };
    type_into(&mut browser, "mid", "5");
    type_into(&mut browser, "key", "by-keyboard");
    type_into(&mut browser, "room", "live://keys");
    type_into(&mut browser, "accepts", "1000");
    go_to(&mut browser, "login");
    browser.press(&tab, "Enter");
    eventually("logged in by keyboard", || (gateway.push_key("by-keyboard", 1000, "welcome") == 1).then_some(()));
    browser.wait_for(&tab, &shows("welcome"));
    go_to(&mut browser, "push-target");
    for _ in 0..4 {
        if browser.evaluate(&tab, "document.getElementById('push-target').value") == json!("key") {
            break;
        }
        browser.press(&tab, "ArrowDown");
    }
    type_into(&mut browser, "push-value", "by-keyboard");
    type_into(&mut browser, "push-op", "1000");
    type_into(&mut browser, "push-body", "typed and sent");
    go_to(&mut browser, "push-send");
    browser.press(&tab, "Enter");
    browser.wait_for(&tab, &shows("typed and sent"));
    // Everything that takes input has a name that a screen reader can say.
    let unnamed = browser.evaluate(
        &tab,
        "[...document.querySelectorAll('input, select, textarea, button')]\
        .filter(control => control.type !== 'hidden' && !(control.labels && control.labels.length) \
        && !control.getAttribute('aria-label') && !control.textContent.trim()).map(control => control.id)",
    );
    assert_eq!(unnamed, json!([]));
    go_to(&mut browser, "logout");
    browser.press(&tab, "Enter");
    gateway.wait_metric("halley_connections", &[], 0.0);
}
