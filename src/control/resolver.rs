//! Names of hosts, looked up where waiting hurts nobody: on a thread of its own for
//! each question, of which there are few at once ([`super::names`]).

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::names::{Answer, Question};

/// What a name leads to, or why it leads nowhere.
type Lookup = dyn Fn(&str) -> Result<Vec<IpAddr>, String> + Send + Sync;

/// Where names are looked up.
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl Resolver {
    /// As the system does: its files and its servers.
    pub(super) fn system() -> Resolver {
        Resolver::new(|name| {
            let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
            Ok(found.map(|address: SocketAddr| address.ip()).collect())
        })
    }

    /// By a function that may take its time.
    pub(super) fn new(
        lookup: impl Fn(&str) -> Result<Vec<IpAddr>, String> + Send + Sync + 'static,
    ) -> Resolver {
        Resolver { lookup: Arc::new(lookup), answers: unbounded() }
    }

    /// Asks; the answer comes with [`Resolver::answer`].
    pub(super) fn ask(&self, question: Question) {
        let (lookup, answers) = (Arc::clone(&self.lookup), self.answers.0.clone());
        let asked = question.clone();
        let run = move || {
            let addresses = lookup(asked.name.as_str());
            // Nobody may be there any more at the end.
            let _ = answers.send(Answer { question: asked, addresses });
        };
        let thread = std::thread::Builder::new().name("gh-names".to_owned()).spawn(run);
        if let Err(error) = thread {
            let _ = self.answers.0.send(Answer { question, addresses: Err(error.to_string()) });
        }
    }

    /// An answer that has come.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.answers.1.try_recv().ok()
    }
}
