//! [`StreamWriter`]: the writing end of a body that is written while it is sent.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::problem::{self, Problem};
use super::response;
use crate::http::error::Error;
use crate::http::message::line_reader::NDJSON;
use crate::http::message::options::{Options, ms};
use crate::http::message::queue::{Offer, StreamQueue, StreamState};
use crate::http::message::response_body::{Body, Response};
use crate::http::message::spool::Spools;
use crate::http::message::stream_body::StreamBody;

/// The client has left or does not read, so further work for it is useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Gone;

/// The writing end. Dropped without [`StreamWriter::end`], it leaves a body that is visibly cut off.
pub(in crate::http) struct StreamWriter {
    shared: Arc<StreamQueue>,
    media_type: &'static str,
    /// Whether the last bytes did not end their line.
    within_a_line: bool,
    /// How long the writer waits for a client that does not read. It is a little less than the time after which the
    /// connection is closed, so that the client can still receive the error.
    patience: Duration,
}

/// Makes a streamed 200, and the writer of its body.
pub(in crate::http) fn answer(
    spools: &Spools,
    options: &Options,
    media_type: &'static str,
) -> (StreamWriter, Response) {
    let shared = StreamQueue::new(spools.spool());
    let lines = StreamBody::new(shared.clone());
    let mut response = response::with(StatusCode::OK, Body::Stream(Box::new(lines)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let patience = ms(options.write_stall_ms) * 3 / 4;
    (StreamWriter { shared, media_type, within_a_line: false, patience }, response)
}

/// Makes a streamed 200 whose body `work` writes, on a task of its own that ends with the client.
pub(in crate::http) fn spawn<F: Future<Output = ()> + Send + 'static>(
    spools: &Spools,
    options: &Options,
    media_type: &'static str,
    work: impl FnOnce(StreamWriter) -> F,
) -> Response {
    let (answer, mut response) = answer(spools, options, media_type);
    let task = tokio::spawn(work(answer));
    if let Body::Stream(stream) = response.body_mut() {
        stream.work = Some(task.abort_handle());
    }
    response
}

/// The end of a line that was cut inside a string. A line that is sent in parts has its `status` at the end, so a line
/// that ends in this way is no result.
pub(in crate::http) fn cut_short(problem: Problem) -> String {
    let status = problem.status().as_u16();
    format!("\",\"problem\":{},\"status\":{status}}}\n", problem.json())
}

impl StreamWriter {
    /// Adds a line, given without its end. Waits for the client only when the file that holds the unread bytes is full.
    pub(in crate::http) async fn line(&mut self, line: Bytes) -> Result<(), Gone> {
        loop {
            let offer = self.shared.lock().offer(&line);
            match offer {
                Offer::Taken => return Ok(()),
                Offer::Gone => return Err(Gone),
                Offer::Spool(write, parts) => self.shared.spool(write, parts).await,
                Offer::Wait => self.wait().await?,
            }
        }
    }

    /// Adds bytes that are too many to keep: waits until the client has taken most of what came before. A line may be
    /// added in parts, cut inside a string, a little at a time, so that little is held for the client.
    pub(in crate::http) async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        loop {
            {
                let mut queue = self.shared.lock();
                match queue.state {
                    StreamState::Open if queue.has_memory_for(bytes.len()) && queue.spool.len() == 0 => {
                        self.within_a_line = bytes.last().unwrap_or(&b'\n') != &b'\n';
                        queue.push(bytes);
                        return Ok(());
                    }
                    StreamState::Open => {}
                    _ => return Err(Gone),
                }
            }
            self.wait().await?;
        }
    }

    /// Ends the body with a last line.
    pub(in crate::http) async fn end(mut self, last: Bytes) -> Result<(), Gone> {
        self.line(last).await?;
        self.shared.lock().close(StreamState::Ended);
        Ok(())
    }

    /// Ends a body that is not made of lines.
    pub(in crate::http) fn finish(self) {
        self.shared.lock().close(StreamState::Ended);
    }

    async fn wait(&self) -> Result<(), Gone> {
        if tokio::time::timeout(self.patience, self.shared.room.notified()).await.is_ok() {
            return Ok(());
        }
        let mut queue = self.shared.lock();
        if let Some(activity) = &queue.activity {
            activity.wait_again();
        }
        if self.media_type == NDJSON {
            if self.within_a_line {
                queue.push(cut_short(problem::of(&Error::NotReading)).into());
            }
            let problem = problem::of(&Error::NotReading).json();
            queue.push(serde_json::json!({ "done": false, "problem": problem }).to_string().into());
            queue.push(Bytes::from_static(b"\n"));
            queue.close(StreamState::Ended);
        } else {
            queue.close(StreamState::Cut);
        }
        Err(Gone)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.shared.lock().close(StreamState::Cut);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::message::queue::MEMORY_BYTES_MAX;
    use crate::http::message::spool::{lost, shortage};

    /// A response under these options.
    fn begun(options: &Options, media_type: &'static str) -> (StreamWriter, Response) {
        answer(&spools(options), options, media_type)
    }

    fn spools(options: &Options) -> Spools {
        Spools::new(options.spool_bytes_max, options.spools_bytes_max)
    }

    fn line(n: usize) -> Bytes {
        format!("{n:099}").into()
    }

    async fn read(response: Response) -> Bytes {
        response.into_body().collect().await.expect("a whole body").to_bytes()
    }

    #[tokio::test]
    async fn lines_wait_for_a_client_that_reads_late_and_come_in_order() {
        // The lines are in memory alone, and in a file.
        for count in [1, 50, 20_000] {
            let (mut answer, response) = begun(&Options::default(), NDJSON);
            for n in 0..count {
                answer.line(line(n)).await.expect("never waits");
            }
            answer.end(line(count)).await.expect("never waits");
            let expected: String = (0..=count).map(|n| format!("{n:099}\n")).collect();
            assert!(read(response).await == expected, "{count}");
        }
    }

    #[tokio::test]
    async fn lines_and_bytes_come_in_order_while_they_are_taken() {
        let options = Options { spool_bytes_max: 100_000, ..Options::default() };
        let (mut answer, response) = begun(&options, NDJSON);
        let reading = tokio::spawn(read(response));
        let mut expected = Vec::new();
        for n in 0..20_000 {
            expected.extend_from_slice(&line(n));
            expected.push(b'\n');
            answer.line(line(n)).await.expect("read");
            if n % 1_000 == 0 {
                let long = vec![b'x'; n * 10];
                expected.extend_from_slice(&long);
                answer.send(long.into()).await.expect("read");
            }
        }
        answer.finish();
        assert!(reading.await.expect("read") == expected);
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_spool_the_client_is_waited_for_and_gets_an_error() {
        const LINES: usize = (2 * MEMORY_BYTES_MAX) / 100;
        for (each, all) in [(MEMORY_BYTES_MAX as u64, u64::MAX), (u64::MAX >> 1, 64 << 10), (0, 0)] {
            let options = Options { spool_bytes_max: each, spools_bytes_max: all, ..Options::default() };
            let (mut answer, response) = begun(&options, NDJSON);
            let mut taken = 0;
            while answer.line(line(taken)).await == Ok(()) {
                taken += 1;
            }
            let fit = if each == 0 { LINES / 2 } else { LINES };
            assert!((fit - 2..=fit + MEMORY_BYTES_MAX / 100 + 2).contains(&taken), "{taken} of {fit}");
            assert_eq!(answer.line(line(0)).await, Err(Gone));
            let body = read(response).await;
            let mut lines = body.split(|byte| *byte == b'\n');
            assert!((0..taken).all(|n| lines.next() == Some(&line(n))));
            let last: serde_json::Value = serde_json::from_slice(lines.next().expect("a last line")).expect("JSON");
            assert_eq!(
                (&last["done"], &last["problem"]["type"]),
                (&false.into(), &"/problems/client-not-reading".into())
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_the_client() {
        let (mut answer, response) = begun(&Options::default(), "application/x-tar");
        answer.send(vec![1; 1 << 20].into()).await.expect("nothing waits");
        assert_eq!(answer.send(vec![2; 1].into()).now_or_never(), None);
        assert_eq!(answer.send(vec![2; 1].into()).await, Err(Gone), "it takes nothing");
        assert!(response.into_body().collect().await.is_err(), "and the body is cut");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_whose_rest_is_not_taken_is_ended_as_no_result() {
        let (mut answer, response) = begun(&Options::default(), NDJSON);
        answer.send(Bytes::from_static(b"{\"data\":\"")).await.expect("nothing waits");
        answer.send(vec![b'A'; MEMORY_BYTES_MAX - 9].into()).await.expect("the bound itself");
        assert_eq!(answer.send(Bytes::from_static(b"B")).await, Err(Gone), "one past it");
        let body = read(response).await;
        let lines: Vec<serde_json::Value> = body
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        let [open, last] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(open["data"].as_str().map(str::len), Some(MEMORY_BYTES_MAX - 9));
        assert_eq!((&open["problem"], &last["done"]), (&last["problem"], &false.into()));
        assert_eq!(open["status"], open["problem"]["status"]);
    }

    #[tokio::test]
    async fn what_a_file_fails_to_take_is_not_lost() {
        let (mut answer, response) = begun(&Options::default(), NDJSON);
        answer.line(line(0)).await.expect("taken");
        {
            let mut queue = answer.shared.lock();
            let parts: Vec<Bytes> = queue.memory.drain(..).collect();
            queue.memory_bytes = 0;
            drop(queue.spool.write(parts.clone()).expect("room"));
            queue.push(line(1));
            queue.spooled(Err(lost()), parts);
        }
        answer.finish();
        assert_eq!(read(response).await, format!("{:099}\n{:099}", 0, 1));
    }

    #[tokio::test]
    async fn lines_that_find_no_file_are_kept_and_a_body_is_whole_or_visibly_cut() {
        const LINES: usize = 3 * MEMORY_BYTES_MAX / 1_000;
        let long = |n: usize| format!("{n:0999}");
        shortage::each_call(async |spools, may_fail| {
            let (mut writer, response) = answer(spools, &Options::default(), NDJSON);
            let writing = async move {
                for n in 0..LINES {
                    writer.line(long(n).into()).await?;
                }
                writer.end(long(LINES).into()).await
            };
            let (written, body) = tokio::join!(writing, response.into_body().collect());
            let expected: String = (0..=LINES).map(|n| long(n) + "\n").collect();
            match body {
                Ok(body) => assert!(body.to_bytes() == expected && written == Ok(())),
                Err(_) => assert!(may_fail, "it was cut although no call failed"),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn an_answer_that_is_not_ended_is_cut() {
        let (mut answer, response) = begun(&Options::default(), NDJSON);
        answer.line(line(1)).await.expect("taken");
        drop(answer);
        assert!(response.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn work_ends_when_the_client_leaves() {
        let options = Options::default();
        let (mut first, response) = begun(&options, NDJSON);
        drop(response);
        assert_eq!((first.line(line(1)).await, first.send(line(1)).await), (Err(Gone), Err(Gone)));
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let response = spawn(&spools(&options), &options, NDJSON, |_answer| async {
            let _alive = alive;
            std::future::pending().await
        });
        drop(response);
        assert!(ended.await.is_err(), "it was dropped");
    }
}
