//! The members of the private network that were connected once, and where: what lets nodes that
//! were all stopped find each other again.
//!
//! Owns the table `members`. A crash loses at most the members met in the last moments.

use std::collections::HashMap;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::db::{self, Db, Schema};
use crate::net::{Multiaddr, Network, PeerEvent, PeerId};

/// The table of this module. An address is a line.
pub(super) const SCHEMA: Schema = Schema {
    owner: "members",
    migrations: &["CREATE TABLE members (
        peer TEXT NOT NULL PRIMARY KEY,
        addresses TEXT NOT NULL,
        seen INTEGER NOT NULL
    ) WITHOUT ROWID"],
};

/// Members that are remembered; the one not seen for longest is forgotten.
const MEMBERS_MAX: u16 = 1024;

/// Everybody who is remembered, last seen first.
pub(super) fn remembered(db: &Db) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, db::Error> {
    db.read(|connection| {
        let mut statement =
            connection.prepare("SELECT peer, addresses FROM members ORDER BY seen DESC")?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        let members = rows.into_iter().filter_map(|(peer, addresses)| {
            let addresses = addresses.lines().filter_map(|line| line.parse().ok()).collect();
            Some((peer.parse().ok()?, addresses))
        });
        Ok(members.collect())
    })
}

/// Remembers who says who it is, until `shutdown`.
pub(super) async fn remember(
    db: Db,
    network: Network,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let mut events = network.events();
    let mut known: HashMap<PeerId, String> = HashMap::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.recv() => event,
        };
        let peers = match event {
            Ok(PeerEvent::Identified(peer)) => vec![peer],
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => network.peers().iter().map(|peer| peer.id).collect(),
            Err(RecvError::Closed) => return Ok(()),
        };
        for peer in peers {
            let addresses = lines(&network, &peer);
            if addresses.is_empty() || known.get(&peer) == Some(&addresses) {
                continue;
            }
            if let Err(error) = save(&db, peer, addresses.clone()).await {
                tracing::error!(%peer, %error, "a member cannot be remembered");
            }
            if known.len() >= usize::from(MEMBERS_MAX) {
                known.clear();
            }
            known.insert(peer, addresses);
        }
    }
}

/// Where a peer says it is, a line each.
fn lines(network: &Network, peer: &PeerId) -> String {
    let identified = network.peer(peer).and_then(|peer| peer.identified);
    let addresses = identified.map(|said| said.addresses.clone()).unwrap_or_default();
    addresses.iter().map(|address| format!("{address}\n")).collect()
}

async fn save(db: &Db, peer: PeerId, addresses: String) -> Result<(), db::Error> {
    db.write(move |tx| {
        tx.execute(
            "INSERT INTO members (peer, addresses, seen) VALUES (?1, ?2, unixepoch())
             ON CONFLICT (peer) DO UPDATE SET addresses = ?2, seen = unixepoch()",
            (peer.to_string(), addresses),
        )?;
        tx.execute(
            "DELETE FROM members WHERE peer IN
             (SELECT peer FROM members ORDER BY seen DESC LIMIT -1 OFFSET ?1)",
            [MEMBERS_MAX],
        )?;
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_is_remembered_where_it_was_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let (one, two) = (PeerId::random(), PeerId::random());
        {
            let db = Db::open(&path, &[SCHEMA]).unwrap();
            save(&db, one, "/ip4/10.0.0.1/tcp/1\n".to_owned()).await.unwrap();
            save(&db, two, "/ip4/10.0.0.2/tcp/1\n".to_owned()).await.unwrap();
            save(&db, one, "/ip4/10.0.0.3/tcp/1\n/ip4/10.0.0.4/tcp/1\n".to_owned()).await.unwrap();
        }
        let found = remembered(&Db::open(&path, &[SCHEMA]).unwrap()).unwrap();
        let of = |peer| found.iter().find(|(id, _)| *id == peer).unwrap().1.clone();
        assert_eq!(found.len(), 2);
        assert_eq!(
            of(one),
            ["/ip4/10.0.0.3/tcp/1", "/ip4/10.0.0.4/tcp/1"].map(|a| a.parse().unwrap())
        );
        assert_eq!(of(two), ["/ip4/10.0.0.2/tcp/1".parse().unwrap()]);
    }
}
