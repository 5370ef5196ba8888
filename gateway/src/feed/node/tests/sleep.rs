//! The loop asleep: requests, shards' news and room in a full ring wake it, and it stops when told to.

use std::thread;

use super::*;

/// Run feed on this thread and a test's future beside it; returns when the future is done.
fn beside<F: Future>(node: FeedNode, test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (stop, stopped) = oneshot::channel::<()>();
        let (feed, result) = tokio::join!(node.run(async { drop(stopped.await) }), async {
            let result = test().await;
            drop(stop);
            result
        });
        feed.expect("the doorbell works");
        result
    })
}

#[test]
fn requests_and_news_wake_a_sleeping_feed() {
    let Bench { node, mut shards, requests, .. } = Bench::new(1, 4);
    let mut shard = shards.pop().expect("one shard");
    // A shard on a thread of its own: logs in, and answers what it is asked to count. Its ring has four slots for a
    // hundred pushes, so feed also has to notice by itself that there is room again.
    let shard = thread::spawn(move || {
        shard.to_feed.push(register(conn(1), "k", 0)).expect("room");
        shard.to_feed.flush();
        let mut heard = Vec::new();
        while heard.len() < 101 {
            let Some(message) = shard.from_feed.pop() else {
                thread::yield_now();
                continue;
            };
            if receipt_of(&message) != 0 {
                let news = ShardToFeed::Receipt { id: receipt_of(&message), matched: 1 };
                while shard.to_feed.free() == 0 {
                    thread::yield_now();
                }
                shard.to_feed.push(news).expect("room");
                shard.to_feed.flush();
            }
            heard.push(show(&message));
        }
        heard
    });
    let ask = |push| async {
        let (reply, answer) = oneshot::channel();
        assert!(requests.send(Request::Deliver { deliveries: vec![push], reply }).await.is_ok());
        let matched = answer.await.expect("feed runs").pop().expect("one answer").expect("counted");
        matched.await.expect("feed runs")
    };
    let matched = beside(node, || async {
        // Nobody rings for the login but the shard.
        while ask(Delivery { body: None, count: true, ..to_keys(&["k"], "") }).await == 0 {
            tokio::task::yield_now().await;
        }
        let pushes = (1..100).map(|n| Delivery { count: true, ..to_keys(&["k"], &n.to_string()) });
        let mut matched = 0;
        for push in pushes {
            matched += ask(push).await;
        }
        matched
    });
    assert_eq!(matched, 99);
    let heard = shard.join().expect("the shard saw what it expected");
    assert_eq!(heard[..2], ["registered 1", "count conn 1"]);
    assert_eq!(heard[2..], (1..100).map(|n| format!("push conn 1: {n}")).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_is_looked_at_again() {
    let Bench { node, shards, requests, .. } = Bench::new(1, 2);
    let shards = std::cell::RefCell::new(shards);
    beside(node, || async {
        let say = |news| {
            let to_feed = &mut shards.borrow_mut()[0].to_feed;
            assert!(to_feed.push(news).is_ok());
            to_feed.flush();
        };
        say(register(conn(1), "k", 0));
        let mut answers = Vec::new();
        for n in 0..5 {
            let (reply, answer) = oneshot::channel();
            let deliveries = vec![message(Target::All { speed: 0 }, &n.to_string())];
            assert!(requests.send(Request::Deliver { deliveries, reply }).await.is_ok());
            answers.push(answer);
        }
        for answer in answers {
            let pop = async {
                loop {
                    tokio::task::yield_now().await;
                    shards.borrow_mut()[0].from_feed.pop();
                }
            };
            tokio::select! {
                accepted = answer => assert_eq!(accepted.expect("feed runs").len(), 1),
                () = pop => {}
            }
        }
    });
}

#[test]
fn feed_goes_on_without_anybody_who_asks() {
    let Bench { node, mut shards, requests, stats } = Bench::new(1, 4);
    drop(requests);
    beside(node, || async {
        let shard = &mut shards[0];
        shard.to_feed.push(register(conn(1), "k", 0)).expect("room");
        shard.to_feed.flush();
        while stats.read().logins == 0 {
            tokio::task::yield_now().await;
        }
    });
}
