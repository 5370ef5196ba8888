//! The program `halley-dispatcher` before real Kafka: what is pushed through it stands in the topic, what is refused
//! while brokers are away does not, and it reloads and drains as it says.

use halley_protocol::proto::push::push_client::PushClient;
use halley_protocol::proto::push::push_request::Target;
use halley_protocol::proto::push::{PushRequest, Room};
use halley_protocol::push::PushRecord;
use serde_json::json;
use tonic::transport::Endpoint;

use crate::brokers::{Brokers, Setup};
use crate::process::Program;

/// The text of every push in the topic, in the order of its one partition.
fn pushed(brokers: &Brokers) -> Vec<String> {
    let records = brokers.consume("goim-push-topic", 0, 0, None);
    let text = |value: Option<Vec<u8>>| {
        let value = value.expect("a push has a value");
        let record = PushRecord::decode(&value.into()).expect("a push of ours");
        String::from_utf8(record.push.body.to_vec()).expect("text")
    };
    records.into_iter().map(|record| text(record.value)).collect()
}

/// From its start without a topic to its end with a push under way.
#[tokio::test]
async fn pushes_go_into_the_topic_and_a_stop_loses_none() {
    let brokers = Setup::new(1).start();
    let folder = tempfile::tempdir().expect("a folder");
    let bootstrap = format!("kafka.brokers={}", brokers.bootstrap().join(","));
    std::fs::write(folder.path().join("tokens"), "0123456789abcdef\n").expect("written");
    std::fs::write(folder.path().join("halley-dispatcher.toml"), "").expect("written");
    let settings = ["--set", &bootstrap, "--set", "kafka.publish_timeout_ms=3000"];
    let mut program = Program::start(folder.path(), &settings);

    let (status, said) = program.push("too early");
    assert!(status == 503 && said.contains("will not appear"), "{said}");
    program.wait_body("/readyz", "goim-push-topic");
    assert_eq!(program.get("/readyz").0, 503, "there is no topic yet");
    brokers.create_topic("goim-push-topic", 1, &json!({}));
    program.wait_status("/readyz", 200);

    let (status, said) = program.push("over HTTP");
    assert!(status == 200 && said.contains("\"id\":\"0-0\""), "{said}");
    let endpoint = Endpoint::from_shared(format!("http://{}", program.grpc)).expect("an address");
    let mut client = PushClient::new(endpoint.connect().await.expect("it listens"));
    let target = Some(Target::Room(Room { key: "live://1".to_owned(), ..Room::default() }));
    let request = PushRequest { target, op: 1000, body: "over gRPC".into(), ..PushRequest::default() };
    client.push(request).await.expect("it is taken");
    assert_eq!(pushed(&brokers), ["over HTTP", "over gRPC"]);

    brokers.kill(1);
    let (status, said) = program.push("while nobody is there");
    assert!([503, 504].contains(&status), "{said}");
    brokers.run(1);
    brokers.wait_ready();
    let mut tries = 0;
    while program.push(&format!("again {tries}")).0 != 200 {
        tries += 1;
        assert!(tries < 40, "pushes are taken again once the broker is back");
    }
    let now = pushed(&brokers);
    assert_eq!(now.iter().filter(|text| **text == format!("again {tries}")).count(), 1, "{now:?}");
    assert!(status == 504 || !now.contains(&"while nobody is there".to_owned()), "what was refused does not appear");

    reload(&program, folder.path());
    program.signal("TERM");
    assert!(program.wait_end().success());
}

/// A reload takes tokens over, and a broken file changes nothing.
fn reload(program: &Program, folder: &std::path::Path) {
    let file = folder.join("halley-dispatcher.toml");
    std::fs::write(&file, "push_token_file = \"tokens\"\n").expect("written");
    program.signal("HUP");
    program.wait_status("/metrics", 401);
    let token = "authorization: Bearer 0123456789abcdef\r\n";
    let push = json!({ "target": { "room": "live://1" }, "op": 1000, "text": "with a token" }).to_string();
    assert_eq!(program.ask("POST", "/v1/push", token, &push).0, 200);
    assert_eq!(program.push("without one").0, 401);
    std::fs::write(&file, "push_token_file = \"gone\"\n").expect("written");
    program.signal("HUP");
    let refused = || {
        let metrics = program.ask("GET", "/metrics", token, "").1;
        metrics.lines().any(|line| {
            line.starts_with("halley_config_reloads_total") && line.contains("refused") && !line.ends_with(" 0")
        })
    };
    while !refused() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(program.ask("POST", "/v1/push", token, &push).0, 200, "the old tokens stay");
}
