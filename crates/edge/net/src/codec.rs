//! The bytes of one request: a run of records up to the end of the stream.
//!
//! A record is a kind byte (0 directed frame, 1 broadcast message), a big-endian u32 length, and that many bytes. The
//! answer is the single byte 1, or a reset of the stream. What the reader refuses is a value, not an I/O error: of an
//! I/O error while reading, libp2p does not tell whose it was, and the refusal could not be counted against its sender.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;

use crate::event::RefusalReason;
use crate::limits::Limits;

/// One frame or message inside a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A frame for this peer alone.
    Direct,
    /// A broadcast message.
    Broadcast,
}

/// What a request turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// At least one record.
    Records(Vec<Record>),
    /// The peer broke a rule; nothing of the request is used. Only ever read, never written.
    Refused(RefusalReason),
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Its frames are taken.
    Taken,
    /// They are not; the stream is reset. A mere close would leave the sender waiting: Yamux resets no stream that was
    /// closed, and the sender may be out of credit half-way through a long frame.
    Refused,
}

/// Reads and writes requests under the caps it was made with.
#[derive(Clone, Debug)]
pub(crate) struct FrameCodec {
    frame_bytes: usize,
    broadcast_bytes: usize,
    batch_bytes: usize,
    batch_frames: usize,
}

impl FrameCodec {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            frame_bytes: limits.max_frame_bytes,
            broadcast_bytes: limits.max_broadcast_bytes,
            batch_bytes: limits.batch_bytes(),
            batch_frames: limits.batch_frames,
        }
    }

    async fn read_records<T: AsyncRead + Unpin + Send>(&self, io: &mut T) -> io::Result<Request> {
        let mut records = Vec::new();
        let mut total = 0;
        loop {
            let (kind, len) = match read_header(io).await? {
                Header::End if records.is_empty() => {
                    return Ok(Request::Refused(RefusalReason::Malformed("it is empty")));
                }
                Header::End => return Ok(Request::Records(records)),
                Header::Bad(what) => return Ok(Request::Refused(RefusalReason::Malformed(what))),
                Header::Record(kind, len) => (kind, len),
            };
            let cap = match kind {
                Kind::Direct => self.frame_bytes,
                Kind::Broadcast => self.broadcast_bytes,
            };
            if len > cap {
                let (claimed, cap) = (len as u64, cap as u64);
                return Ok(Request::Refused(RefusalReason::FrameTooLarge { claimed, cap }));
            }
            total += HEADER_BYTES + len;
            if total > self.batch_bytes || records.len() == self.batch_frames {
                return Ok(Request::Refused(RefusalReason::Malformed("it holds too much")));
            }
            let mut body = Vec::new();
            // Grows with what arrives, not with what was claimed.
            (&mut *io).take(len as u64).read_to_end(&mut body).await?;
            if body.len() < len {
                return Ok(Request::Refused(RefusalReason::Malformed("a frame is cut short")));
            }
            records.push(Record { kind, body: Bytes::from(body) });
        }
    }
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Self::Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_records(io).await
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Self::Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut answer = [0];
        io.read_exact(&mut answer).await?;
        match answer {
            [TAKEN] => Ok(Answer::Taken),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not an acknowledgement")),
        }
    }

    async fn write_request<T>(&mut self, _: &Self::Protocol, io: &mut T, request: Self::Request) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let Request::Records(records) = request else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a refusal is never sent"));
        };
        for record in records {
            let len = u32::try_from(record.body.len())
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of 4 GiB or more"))?;
            let mut header = [0; HEADER_BYTES];
            header[0] = match record.kind {
                Kind::Direct => DIRECT,
                Kind::Broadcast => BROADCAST,
            };
            header[1..].copy_from_slice(&len.to_be_bytes());
            io.write_all(&header).await?;
            io.write_all(&record.body).await?;
        }
        Ok(())
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, answer: Self::Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match answer {
            Answer::Taken => io.write_all(&[TAKEN]).await,
            // An error makes the handler drop the stream unclosed, which resets it.
            Answer::Refused => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the request is refused")),
        }
    }
}

enum Header {
    Record(Kind, usize),
    End,
    Bad(&'static str),
}

async fn read_header<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Header> {
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match io.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Ok(Header::End),
            0 => return Ok(Header::Bad("a header is cut short")),
            read => filled += read,
        }
    }
    let [kind, len @ ..] = header;
    let len = u32::from_be_bytes(len) as usize;
    Ok(match kind {
        DIRECT => Header::Record(Kind::Direct, len),
        BROADCAST => Header::Record(Kind::Broadcast, len),
        _ => Header::Bad("a record is of no known kind"),
    })
}

/// Bytes before each record's body: kind and length.
pub(crate) const HEADER_BYTES: usize = 5;
const DIRECT: u8 = 0;
const BROADCAST: u8 = 1;
const TAKEN: u8 = 1;

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;
    use libp2p::request_response::Codec;

    use super::*;

    fn codec() -> FrameCodec {
        FrameCodec::new(&Limits { max_frame_bytes: 100, max_broadcast_bytes: 50, batch_frames: 3, ..Limits::default() })
    }

    fn record(kind: Kind, len: usize) -> Record {
        Record { kind, body: Bytes::from(vec![7; len]) }
    }

    fn read(bytes: &[u8]) -> Request {
        block_on(codec().read_records(&mut Cursor::new(bytes))).unwrap()
    }

    fn write(records: Vec<Record>) -> Vec<u8> {
        let protocol = StreamProtocol::new("/test");
        let mut bytes = Vec::new();
        block_on(codec().write_request(&protocol, &mut bytes, Request::Records(records))).unwrap();
        bytes
    }

    #[test]
    fn records_come_back_as_written() {
        let cases = [
            vec![record(Kind::Direct, 0)],
            vec![record(Kind::Direct, 100)],
            vec![record(Kind::Direct, 30), record(Kind::Broadcast, 50), record(Kind::Direct, 1)],
        ];
        for records in cases {
            assert_eq!(read(&write(records.clone())), Request::Records(records));
        }
    }

    #[test]
    fn bad_requests_are_refused_by_name() {
        let malformed = |what| Request::Refused(RefusalReason::Malformed(what));
        let too_large = |claimed, cap| Request::Refused(RefusalReason::FrameTooLarge { claimed, cap });
        let cut = |records, by| {
            let mut bytes = write(records);
            bytes.truncate(bytes.len() - by);
            bytes
        };
        let cases = [
            (vec![], malformed("it is empty")),
            (vec![0, 0, 0], malformed("a header is cut short")),
            (vec![2, 0, 0, 0, 0], malformed("a record is of no known kind")),
            (cut(vec![record(Kind::Direct, 10)], 1), malformed("a frame is cut short")),
            (write(vec![record(Kind::Direct, 101)]), too_large(101, 100)),
            (write(vec![record(Kind::Broadcast, 51)]), too_large(51, 50)),
            // Four gigabytes announced, nothing sent: refused on the header alone.
            (vec![0, 255, 255, 255, 255], too_large(u64::from(u32::MAX), 100)),
            (write(vec![record(Kind::Direct, 1); 4]), malformed("it holds too much")),
            (write(vec![record(Kind::Direct, 60); 2]), malformed("it holds too much")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(&bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn only_an_acknowledgement_is_an_answer() {
        let protocol = StreamProtocol::new("/test");
        let answer = |bytes: &[u8]| block_on(codec().read_response(&protocol, &mut Cursor::new(bytes)));
        assert!(answer(&[TAKEN]).is_ok());
        assert!(answer(&[]).is_err());
        assert!(answer(&[0]).is_err());
    }

    /// Hex in which `byte*count` is a run.
    fn unpacked(value: &serde_json::Value) -> Vec<u8> {
        let piece = |piece: &str| match piece.split_once('*') {
            Some((byte, count)) => hex::decode(byte).unwrap().repeat(count.parse().unwrap()),
            None => hex::decode(piece).unwrap(),
        };
        value.as_str().unwrap().split(' ').flat_map(piece).collect()
    }

    fn record_of(value: &serde_json::Value) -> Record {
        let kind = match value["kind"].as_str().unwrap() {
            "0" => Kind::Direct,
            _ => Kind::Broadcast,
        };
        Record { kind, body: unpacked(&value["body"]).into() }
    }

    /// The vectors that `vectors/check.py` reads too; written by neither side. The caps are those of a node.
    #[test]
    fn golden_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../vectors/request.json");
        let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let codec = FrameCodec::new(&Limits { max_frame_bytes: 1 << 20, ..Limits::default() });
        let read = |bytes: &[u8]| block_on(codec.read_records(&mut Cursor::new(bytes))).unwrap();
        let (accepted, refused) = (file["accepted"].as_array().unwrap(), file["refused"].as_array().unwrap());
        assert!(accepted.len() >= 7 && refused.len() >= 10);
        for vector in accepted {
            let records: Vec<_> = vector["fields"]["records"].as_array().unwrap().iter().map(record_of).collect();
            assert!(read(&unpacked(&vector["bytes"])) == Request::Records(records.clone()), "{}", vector["name"]);
            assert!(write(records) == unpacked(&vector["bytes"]), "{}", vector["name"]);
        }
        for vector in refused {
            let reason = match read(&unpacked(&vector["bytes"])) {
                Request::Refused(RefusalReason::FrameTooLarge { .. }) => "request_record_length",
                Request::Refused(RefusalReason::Malformed("it is empty")) => "request_empty",
                Request::Refused(RefusalReason::Malformed("a header is cut short")) => "request_header_cut",
                Request::Refused(RefusalReason::Malformed("a record is of no known kind")) => "request_kind",
                Request::Refused(RefusalReason::Malformed("a frame is cut short")) => "request_body_cut",
                Request::Refused(RefusalReason::Malformed("it holds too much")) => "request_too_much",
                other => panic!("{}: {other:?}", vector["name"]),
            };
            assert_eq!(vector["reason"], reason, "{}", vector["name"]);
        }
    }
}
