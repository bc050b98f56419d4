//! `pubsub/*`: kubo core/commands/pubsub.go. Topics, messages and numbers are binary, so they are
//! base64url in multibase everywhere but in the text encoding.
//!
//! Unlike Kubo: a topic has to be UTF-8, as gossipsub's own specification has it; a message that no
//! peer would take is an error and not dropped; several that are published at once all arrive.

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::swarm::Strings;
use super::value::Omit;
use super::{Error, Reply, Request, Value};
use crate::ipld::base::{self, Base};
use crate::node::pubsub::Message;

/// The longest message that is read; the network has a lower limit, which depends on the topic.
const DATA_BYTES_MAX: usize = 1 << 20;

/// `pubsub/ls`.
pub(super) async fn ls(request: Request) -> Result<Reply, Error> {
    let topics = request.node.topics().await?;
    if request.options.string("encoding") == "text" {
        return Ok(Reply::one(Strings::or_null(topics)));
    }
    let topics = topics.iter().map(|topic| encode(topic.as_bytes()));
    Ok(Reply::one(Strings::or_null(topics.collect())))
}

/// `pubsub/peers`.
pub(super) async fn peers(request: Request) -> Result<Reply, Error> {
    let topic = request.args.first().map(|argument| topic(argument)).transpose()?;
    // As in Kubo, the empty topic is none.
    let topic = topic.filter(|topic| !topic.is_empty());
    Ok(Reply::one(Strings::new(request.node.topic_peers(topic).await?)))
}

/// `pubsub/pub`.
pub(super) async fn publish(mut request: Request) -> Result<Reply, Error> {
    let topic = topic(request.arg(0))?;
    if request.first_file().await?.is_none() {
        return Err(Error::new("file argument was nil"));
    }
    let too_long = format!("the message is too long: at most {DATA_BYTES_MAX} bytes");
    let data = request.files.read_all(DATA_BYTES_MAX, &too_long).await?;
    request.node.publish_message(topic, data).await?;
    Ok(Reply::Nothing)
}

/// `pubsub/sub`: messages until the client leaves or the node stops. The head of the answer goes
/// out at once: it tells the client that it hears what is said from now on.
pub(super) async fn sub(request: Request) -> Result<Reply, Error> {
    let topic = topic(request.arg(0))?;
    let subscription = request.node.subscribe(topic).await?;
    let encoding = request.options.string("encoding").to_owned();
    let is_removed = matches!(encoding.as_str(), "ndpayload" | "lenpayload");
    let messages = stream::unfold((request.node, subscription), |(node, mut from)| async move {
        let message = tokio::select! {
            message = from.next() => message?,
            () = node.stopped() => return None,
        };
        Some((PubsubMessage::new(&message), (node, from)))
    });
    Ok(Reply::live(messages.map(move |message| match is_removed {
        true => Err(Error::new(format!("--enc={encoding} was removed, use --enc=json instead"))),
        false => Ok(message),
    })))
}

/// `pubsub/reset`.
pub(super) async fn reset(request: Request) -> Result<Reply, Error> {
    let peer = request.options.string("peer").to_owned();
    let peer = Some(peer).filter(|peer| !peer.is_empty());
    let deleted = request.node.forget_messages(peer.as_deref()).await?;
    let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
    Ok(Reply::one(PubsubReset { deleted, peer: peer.unwrap_or_default() }))
}

fn encode(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&base::encode(Base::Base64Url, bytes)).into_owned()
}

/// A topic as the request line holds it.
fn topic(argument: &str) -> Result<String, Error> {
    let (base, bytes) = base::decode(argument.as_bytes())
        .map_err(|error| Error::new(format!("URL arg must be multibase encoded: {error}")))?;
    if base != Base::Base64Url {
        return Err(Error::new("URL arg must be base64url encoded"));
    }
    String::from_utf8(bytes)
        .map_err(|_| Error::new("the topic is no UTF-8, which gossipsub asks for"))
}

#[derive(Debug, Serialize)]
#[serde(rename = "commands.pubsubMessage")]
struct PubsubMessage {
    #[serde(rename = "from>From")]
    from: Omit<String>,
    #[serde(rename = "data>Data")]
    data: Omit<String>,
    #[serde(rename = "seqno>Seqno")]
    seqno: Omit<String>,
    #[serde(rename = "topicIDs>TopicIDs")]
    topic_ids: Omit<Vec<String>>,
    #[serde(skip)]
    bytes: Vec<u8>,
}

impl PubsubMessage {
    fn new(message: &Message) -> Self {
        Self {
            from: Omit(message.author.to_base58()),
            data: Omit(encode(&message.data)),
            seqno: Omit(encode(&message.seqno.to_be_bytes())),
            topic_ids: Omit(vec![encode(message.topic.as_bytes())]),
            bytes: message.data.clone(),
        }
    }
}

impl Value for PubsubMessage {
    fn raw_text(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "commands.pubsubResetResult")]
struct PubsubReset {
    #[serde(rename = "deleted>Deleted")]
    deleted: i64,
    #[serde(skip)]
    peer: String,
}

impl Value for PubsubReset {
    fn text(&self) -> Option<Result<String, Error>> {
        let Self { deleted, peer } = self;
        Some(Ok(match (peer.is_empty(), deleted) {
            (true, _) => format!("Reset validator state for {deleted} peer(s)\n"),
            (false, 0) => format!("No validator state found for peer {peer}\n"),
            (false, _) => format!("Reset validator state for peer {peer}\n"),
        }))
    }
}
