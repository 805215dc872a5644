//! Limits at their edge, other hosts, and bodies that are no JSON.

use redfish_client::{Cause, Reach};
use serde_json::{Value, json};

use super::server::*;

/// A JSON body of exactly so many bytes.
fn body_of(bytes: usize) -> String {
    format!("{{\"Id\":\"1\"{}}}", " ".repeat(bytes - 10))
}

async fn read(bmc: &Server) -> Result<Value, redfish_client::Error> {
    bmc.client().get(&link("/redfish/v1/Systems/1")).await
}

#[tokio::test]
async fn an_answer_may_have_8192_bytes_and_not_one_more() {
    let bmc = Server::start().await;
    for (bytes, fits) in [(8192, true), (8193, false)] {
        let body = body_of(bytes);
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{body}");
        let chunked =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n");
        let until_close = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        for (text, close) in [(length, false), (chunked, false), (until_close, true)] {
            bmc.on(SYSTEM, [Answer::Bytes(text.into_bytes(), close)]);
            match read(&bmc).await {
                Ok(value) => assert!(fits && value["Id"] == "1"),
                Err(error) => assert!(
                    !fits && error.to_string().contains("larger than 8192 bytes"),
                    "{error}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_dropped_connection() {
    let bmc = Server::start().await;
    bmc.on(
        SYSTEM,
        [Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"Id\":".to_vec(),
            true,
        )],
    );
    let error = read(&bmc).await.unwrap_err();
    assert!(
        matches!(
            *error.cause,
            Cause::Unreachable {
                at: Reach::Dropped,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(bmc.seen_at(SYSTEM).len(), 2);
}

#[tokio::test]
async fn a_silent_bmc_costs_one_time_limit() {
    let bmc = Server::start().await;
    bmc.on(SYSTEM, [Answer::Hang]);
    let client = bmc.impatient_client();
    let error = client.get(&link("/redfish/v1/Systems/1")).await.unwrap_err();
    assert!(
        matches!(
            *error.cause,
            Cause::Unreachable {
                at: Reach::Timeout,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(bmc.seen_at(SYSTEM).len(), 1);
}

fn moved(code: u16, location: &str) -> Answer {
    answer(code, &[("Location", location)], &Value::Null)
}

#[tokio::test]
async fn a_redirect_is_followed_inside_the_bmc_and_nowhere_else() {
    let (bmc, other) = (Server::start().await, Server::start().await);
    bmc.on(SYSTEM, [moved(308, "/redfish/v1/Systems/1/")]);
    bmc.on("GET /redfish/v1/Systems/1/", [ok(json!({"Id": "one"}))]);
    assert_eq!(read(&bmc).await.unwrap()["Id"], "one");

    // same address, another port: another host all the same
    let target = format!("http://{}/redfish/v1/Systems/1", other.address);
    for location in [target.as_str(), "//other.example/x", "https://127.0.0.1/x"] {
        bmc.on(SYSTEM, [moved(302, location)]);
        let error = read(&bmc).await.unwrap_err();
        assert!(
            error.to_string().contains("other hosts are not followed"),
            "{error}"
        );
    }
    assert!(other.seen().is_empty());

    bmc.on(SYSTEM, [moved(302, "/redfish/v1/Systems/1")]);
    let error = read(&bmc).await.unwrap_err();
    assert!(
        error.to_string().contains("redirected more than 3 times"),
        "{error}"
    );
}

#[tokio::test]
async fn the_root_is_found_behind_a_redirect() {
    let bmc = Server::start().await;
    bmc.on(ROOT, [moved(301, "/redfish/v1")]);
    bmc.on("GET /redfish/v1", [ok(json!({"Vendor": "Contoso"}))]);
    assert_eq!(
        bmc.client().service_root().await.unwrap().value.vendor.as_deref(),
        Some("Contoso")
    );
}

#[tokio::test]
async fn a_power_command_is_not_redirected() {
    let bmc = Server::start().await;
    bmc.on(RESET, [moved(307, "/elsewhere")]);
    let client = bmc.client();
    let read = system(&client).await;
    let error = client.reset(&read, redfish_client::Reset::On).await.unwrap_err();
    assert!(matches!(*error.cause, Cause::Protocol(_)), "{error}");
    assert!(bmc.seen_at("POST /elsewhere").is_empty());
}

#[tokio::test]
async fn a_link_to_another_host_is_not_a_link() {
    let bmc = Server::start().await;
    bmc.on(
        "GET /redfish/v1/Systems",
        [ok(json!({"Members": [{"@odata.id": "//evil.example/1"}]}))],
    );
    let client = bmc.client();
    let links = client.systems().await.unwrap();
    let error = client.system(&links[0]).await.unwrap_err();
    assert!(
        error.to_string().contains("the link leads to another host") && !error.maybe_sent,
        "{error}"
    );
}

#[tokio::test]
async fn a_collection_may_have_three_pages_and_not_one_more() {
    let bmc = Server::start().await;
    let page = |n: u32, next: bool| {
        let mut page = json!({"Members": [{"@odata.id": format!("/{n}")}]});
        if next {
            page["Members@odata.nextLink"] = json!(format!("/page?skip={}", n + 1));
        }
        ok(page)
    };
    bmc.on("GET /page", [page(1, true)]);
    bmc.on("GET /page?skip=2", [page(2, true)]);
    bmc.on("GET /page?skip=3", [page(3, false)]);
    let client = bmc.client();
    let members: Vec<_> = client
        .members(&link("/page"))
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(members, ["/1", "/2", "/3"]);
    bmc.on("GET /page?skip=3", [page(3, true)]);
    let error = client.members(&link("/page")).await.unwrap_err();
    assert!(error.to_string().contains("more than 3 pages"), "{error}");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_named_by_its_type() {
    let bmc = Server::start().await;
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    bmc.on(SYSTEM, [Answer::Bytes(html.into(), false)]);
    let error = read(&bmc).await.unwrap_err();
    assert!(error.to_string().contains("no JSON (text/html)"), "{error}");
    bmc.on(
        SYSTEM,
        [Answer::Bytes(
            b"HTTP/1.1 500 X\r\nContent-Length: 6\r\n\r\n<html>".to_vec(),
            false,
        )],
    );
    let error = read(&bmc).await.unwrap_err();
    assert!(
        matches!(*error.cause, Cause::Failed { status: 500, .. }),
        "{error}"
    );
}
