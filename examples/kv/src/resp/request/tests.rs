use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { argument_bytes_max: 200_000_000, request_bytes_max: 5000 };

/// All requests of an input that arrives in pieces.
fn read(pieces: &[&[u8]]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
    let mut reader = RequestReader::new(LIMITS, RequestRoom::new(0));
    let (mut input, mut requests) = (Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(request) = reader.request(&input)? {
            requests.push(match request {
                Request::TooLarge => vec![TOO_LARGE.to_vec()],
                Request::NoRoom => vec![],
                request => request.arguments().iter().map(|argument| argument.to_vec()).collect(),
            });
            let consumed = reader.consume();
            input.drain(..consumed);
        }
        input.drain(..reader.pass_over());
        assert!(input.len() <= LIMITS.request_bytes_max + LINE_BYTES_MAX, "{} bytes are kept", input.len());
    }
    Ok(requests)
}

/// Stands for a request that was refused for its size.
const TOO_LARGE: &[u8] = b"(too large)";

fn encode(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[test]
fn lengths_beyond_the_protocol_are_refused_before_their_bytes_arrive() {
    let cases: [(&[u8], ProtocolError); 5] = [
        (b"*2\r\n$200000001\r\n", ProtocolError::Length),
        (b"*1000000000\r\n", ProtocolError::Count),
        (b"*1048577\r\n", ProtocolError::Count),
        (b"*2\r\n$9223372036854775807\r\n", ProtocolError::Length),
        (b"*1\r\n$99999999999999999999\r\n", ProtocolError::Length),
    ];
    for (input, expected) in cases {
        assert_eq!(read(&[input]), Err(expected), "{}", input.escape_ascii());
    }
}

#[test]
fn a_request_that_is_too_large_is_read_to_its_end_and_the_next_one_is_understood() {
    let ping = vec![b"PING".to_vec()];
    let long = encode(&[b"SET".to_vec(), b"k".to_vec(), vec![b'*'; 5001], b"EX".to_vec(), b"1".to_vec()]);
    let many = encode(&vec![b"x".to_vec(); 834]);
    let together = encode(&vec![vec![b'$'; 1000]; 6]);
    for large in [long, many, together] {
        let input = [&encode(&ping)[..], &large, &encode(&ping)].concat();
        let expected = Ok(vec![ping.clone(), vec![TOO_LARGE.to_vec()], ping.clone()]);
        assert_eq!(read(&[&input]), expected);
        for size in [1, 2, 7, 999, 1000, 1003] {
            assert_eq!(read(&input.chunks(size).collect::<Vec<_>>()), expected, "in pieces of {size}");
        }
    }
}

/// A request of a hundred megabytes takes no more memory than an allowed one.
#[test]
fn a_request_that_is_too_large_is_not_kept() {
    let mut pieces = vec![&b"*2\r\n$3\r\nGET\r\n$100000000\r\n"[..]];
    let piece = vec![b'x'; 100_000];
    pieces.extend(std::iter::repeat_n(&piece[..], 1000));
    pieces.push(b"\r\nPING\r\n");
    assert_eq!(read(&pieces), Ok(vec![vec![TOO_LARGE.to_vec()], vec![b"PING".to_vec()]]));
}

#[test]
fn who_has_to_log_in_sends_no_more_than_a_login() {
    let limits = Limits { argument_bytes_max: 1 << 20, request_bytes_max: 1 << 20 };
    let read = |input: &[u8]| {
        let mut reader = RequestReader::new(limits, RequestRoom::new(0));
        reader.set_stranger(true);
        reader.request(input).map(|request| request.is_some())
    };
    assert_eq!(read(b"*10\r\n"), Ok(false));
    assert_eq!(read(b"*11\r\n"), Err(ProtocolError::StrangerCount));
    assert_eq!(read(b"*2\r\n$4\r\nAUTH\r\n$16384\r\n"), Ok(false));
    assert_eq!(read(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"), Err(ProtocolError::StrangerLength));
    assert_eq!(read(&encode(&vec![vec![b'x'; 16_384]; 3])), Ok(true));
    assert_eq!(read(&encode(&vec![vec![b'x'; 16_384]; 4])), Err(ProtocolError::StrangerLength));
}

#[test]
fn a_client_that_has_logged_in_may_send_more_and_one_that_begins_anew_less() {
    let mut reader = RequestReader::new(LIMITS, RequestRoom::new(0));
    let (small, large) = (encode(&[b"PING".to_vec()]), encode(&vec![b"x".to_vec(); 11]));
    reader.set_stranger(true);
    reader.request(&small).unwrap().unwrap();
    reader.consume();
    assert_eq!(reader.request(&large).unwrap_err(), ProtocolError::StrangerCount);
    reader.set_stranger(false);
    assert_eq!(reader.request(&large).unwrap().unwrap().arguments().len(), 11);
}

#[test]
fn lines_without_an_end_are_refused() {
    let long = vec![b'1'; LINE_BYTES_MAX + 1];
    assert_eq!(read(&[&long]), Err(ProtocolError::InlineTooLong));
    assert_eq!(read(&[b"*", &long]), Err(ProtocolError::CountTooLong));
    assert_eq!(read(&[b"*1\r\n$", &long]), Err(ProtocolError::LengthTooLong));
    assert_eq!(read(&[&long[..1000]]), Ok(vec![]));
}

#[test]
fn a_request_is_given_until_it_is_consumed() {
    let mut reader = RequestReader::new(LIMITS, RequestRoom::new(0));
    let input = b"*1\r\n$4\r\nPING\r\nECHO";
    for _ in 0..2 {
        assert_eq!(reader.request(input).unwrap().unwrap().arguments(), [b"PING"]);
    }
    assert_eq!((reader.request_bytes(), reader.consume()), (14, 14));
    assert!(reader.request(&input[14..]).unwrap().is_none());
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        requests in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5),
            0..6,
        ),
        cuts in proptest::collection::vec(1_usize..12, 1..40),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|arguments| encode(arguments)).collect();
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle().take_while(|_| !bytes.is_empty()) {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(read(&pieces), Ok(requests));
    }

    #[test]
    fn arbitrary_bytes_are_requests_or_errors(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"*$\r\n0123 \"'\\"[..])], 0..200),
        cut in 0_usize..200,
    ) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let whole = read(&[&bytes]);
        let pieces = read(&[first, second]);
        prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn a_zero_byte_ends_an_inline_command() {
    let expected = vec![vec![b"SET".to_vec(), b"key".to_vec(), b"va".to_vec()], vec![b"PING".to_vec()]];
    assert_eq!(
        read(&[b"SET key va\0lue\r\n\0\0\r\nPING\0\r\n"])
            .map(|requests| { requests.into_iter().filter(|arguments| !arguments.is_empty()).collect::<Vec<_>>() }),
        Ok(expected)
    );
}

#[test]
fn large_requests_share_the_room_for_them() {
    let limits = Limits { argument_bytes_max: 3 << 20, request_bytes_max: 4 << 20 };
    let room = RequestRoom::new(5 << 20);
    let mut readers = [(); 2].map(|()| RequestReader::new(limits, room.clone()));
    let start = b"*2\r\n$3\r\nGET\r\n$3145728\r\n";
    assert!(readers[0].request(start).unwrap().is_none());
    assert_eq!(readers[0].bytes_expected(), start.len() + (3 << 20) + 2, "its room is taken before its bytes come");
    assert!(readers[1].request(start).unwrap().is_none());
    assert_eq!((readers[1].bytes_expected(), readers[1].pass_over()), (0, start.len()), "nothing of it is kept");
    assert!(matches!(readers[1].request(&vec![b'x'; (3 << 20) + 2]), Ok(Some(Request::NoRoom))));
    readers[1].consume();
    let whole = [&start[..], &vec![b'x'; 3 << 20], b"\r\n"].concat();
    assert!(matches!(readers[0].request(&whole), Ok(Some(Request::Array(_)))));
    let kept = readers[0].take_reservation();
    readers[0].consume();
    assert!(readers[1].request(start).unwrap().is_none());
    assert_eq!(readers[1].bytes_expected(), 0, "it is still kept");
    readers[1] = RequestReader::new(limits, room);
    drop(kept);
    assert!(readers[1].request(start).unwrap().is_none());
    assert!(readers[1].bytes_expected() > 0);
}
