//! What bulk requests hold for a client that does not read, and what happens to results that cannot be read back.

use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::iter;
use http_body_util::BodyExt;
use serde_json::Value;

use super::*;
use crate::http::app::Settings;
use crate::http::message::response_body::Response;
use crate::http::message::spool::{PIECE_BYTES, Spools};
use crate::items::Placed;
use crate::pipeline::codec::CODECS;
use crate::store;

/// Options under which nothing waits in memory, and no further item begins past two pieces in the file.
async fn app() -> Arc<App> {
    let mut settings = Settings::default();
    settings.http.bulk_results_bytes_max = 0;
    settings.http.spool_bytes_max = 2 * PIECE_BYTES as u64;
    App::new(store::open("memory:", &settings.store).await.expect("memory"), settings)
}

fn long(pieces: usize) -> Bytes {
    (0..pieces * PIECE_BYTES + 1).map(|n| (n / 7) as u8).collect()
}

/// The response of one item whose outputs have these bytes.
async fn answer(app: &Arc<App>, buffer: &ResultBuffer, media: Media, outputs: Vec<Bytes>) -> Response {
    let mut done = Vec::new();
    for bytes in outputs {
        let waiting = buffer.put(bytes).await.expect("room");
        done.push(Ok(Done { place: Placed::Response(CODECS[0], waiting), missing: None }));
    }
    let app = app.clone();
    app.clone().stream(media.name(), |answer| async move {
        let mut results = Results::new(app, answer, media);
        let label = ItemLabel { index: 0, key: None, part: None };
        if results.ran(&label, Ok(done)).await == Ok(()) {
            _ = results.end(Ok(())).await;
        }
    })
}

#[tokio::test]
async fn a_long_result_stays_in_its_file_until_the_client_takes_it() {
    const PIECES: usize = 40;
    for (media, bytes_of_a_piece) in [(Media::Lines, PIECE_BYTES / 3 * 4), (Media::Tar, PIECE_BYTES)] {
        let app = app().await;
        let buffer = ResultBuffer::of(&app);
        let bytes = long(PIECES);
        let mut body = answer(&app, &buffer, media, vec![bytes.clone()]).await.into_body();
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            // One piece is being read, one waits to be sent, and one is being taken.
            let left = (PIECES + 1).saturating_sub(all.len() / bytes_of_a_piece + 3);
            assert!(buffer.file_pieces() >= left, "{media:?}: {} of {left}", buffer.file_pieces());
            all.extend(frame.expect("a whole body").into_data().expect("data"));
        }
        match media {
            Media::Lines => {
                let line: Value =
                    serde_json::Deserializer::from_slice(&all).into_iter().next().expect("a line").expect("JSON");
                assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &bytes.len().into()));
                assert!(line["data"] == STANDARD.encode(&bytes));
            }
            Media::Tar => assert!(all[512..][..bytes.len()] == bytes),
        }
    }
}

/// A file that has lost all but its first piece.
struct Torn;

impl FileExt for Torn {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset == 0 { Ok(bytes.len()) } else { Err(io::Error::other("gone")) }
    }

    fn write_at(&self, bytes: &[u8], _offset: u64) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_read_back_is_none_and_the_others_go_on() {
    let app = app().await;
    let buffer = || ResultBuffer::new(Spools::new(0, u64::MAX).created_by(|| Ok(Arc::new(Torn))), &app.options);
    let outputs = || vec![long(0), long(1), long(1)];
    let body = answer(&app, &buffer(), Media::Lines, outputs()).await.into_body();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let lines: Vec<Value> =
        serde_json::Deserializer::from_slice(&body).into_iter().map(|line| line.expect("JSON")).collect();
    let statuses: Vec<&Value> = lines[..3].iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [200, 500, 500], "whole, cut short, never begun");
    assert_eq!(lines[1]["problem"]["status"], 500);
    assert_eq!((&lines[3]["done"], &lines[3]["ok"], &lines[3]["failed"]), (&true.into(), &1.into(), &2.into()));

    let body = answer(&app, &buffer(), Media::Tar, outputs()).await.into_body();
    assert!(body.collect().await.is_err(), "a tar is cut");
}

#[tokio::test]
async fn no_item_begins_past_the_room_and_a_server_that_stops_does_not_wait_for_it() {
    let app = app().await;
    let buffer = Arc::new(ResultBuffer::of(&app));
    let (sender, mut receiver) = channel(1);
    let runner = ItemRunner { app: app.clone(), buffer: buffer.clone(), pending: Arc::default(), sender };
    let refused =
        |index| Ok(RequestItem { label: ItemLabel { index, key: None, part: None }, item: Err(Error::Draining) });
    let mut entries = std::pin::pin!(iter((0..9).map(refused)));
    let mut running = JoinSet::new();
    let mut waiting = vec![buffer.put(long(1)).await.expect("room")];
    // The channel takes one item, and one waits for it.
    assert!(start(&runner, entries.as_mut(), &mut running).now_or_never().is_none());
    assert_eq!(entries.size_hint().0, 7, "the bound itself");
    waiting.push(buffer.put(long(0)).await.expect("room"));
    while receiver.try_recv().is_ok() {}
    assert!(start(&runner, entries.as_mut(), &mut running).now_or_never().is_none());
    assert_eq!(entries.size_hint().0, 7, "one past it");
    app.draining.send_replace(true);
    assert_eq!(start(&runner, entries.as_mut(), &mut running).now_or_never(), Some(Err(Error::Draining)));
}
