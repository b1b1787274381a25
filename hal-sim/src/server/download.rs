//! Artifact links: whole files and ranges of them.

use super::{Body, Request, Response, Server};

impl Server {
    pub(super) fn artifact(&mut self, id: &str, request: &Request<'_>) -> Response {
        if request.method != "GET" {
            return Response::new(405);
        }
        if request.header("Authorization").is_some() {
            self.violation("a token went to an artifact link");
        }
        if !request.body.is_empty() {
            self.violation("a download has a body");
        }
        if request.target != Self::link(id) {
            self.violation(format!("artifact link was changed: {}", request.target));
            return Response::new(403);
        }
        let Some(deployment) = self.deployments.get(id) else { return Response::new(404) };
        let bytes = deployment.artifact.bytes.clone();
        let etag = format!("\"{}-{}\"", deployment.artifact.name, bytes.len());
        let found = Response::new(200)
            .header("Content-Type", "application/vnd.mender-artifact")
            .header("Accept-Ranges", "bytes")
            .header("ETag", etag.as_str());

        let Some(range) = request.header("Range") else {
            return Response { body: Body::part(&bytes, 0..bytes.len()), ..found };
        };
        let Some((first, last)) = parse_range(range, bytes.len()) else {
            self.violation(format!("Range that makes no sense: {range}"));
            return Response::new(416).header("Content-Range", format!("bytes */{}", bytes.len()));
        };
        if first == 0 {
            self.violation(format!("Range from the first byte: {range}"));
        }
        if !self.ranges || request.header("If-Range").is_some_and(|seen| seen != etag) {
            return Response { body: Body::part(&bytes, 0..bytes.len()), ..found };
        }
        let part = found.header("Content-Range", format!("bytes {first}-{last}/{}", bytes.len()));
        Response { status: 206, body: Body::part(&bytes, first..last + 1), ..part }
    }
}

/// `bytes=N-` and `bytes=N-M`, within `length` bytes.
fn parse_range(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let end = length.checked_sub(1)?;
    let last = if last.is_empty() { end } else { last.parse::<usize>().ok()?.min(end) };
    (first <= last).then_some((first, last))
}
