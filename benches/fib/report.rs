//! Medians, the table, and `target/bench/fib.json`.

use std::io::Write;

/// A figure measured several times.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Sample {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Sample {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Sample { median: sorted[sorted.len() / 2], min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.median < 10.0 { 2 } else { 1 };
        write!(f, "{:.digits$} [{:.digits$}–{:.digits$}]", self.median, self.min, self.max)
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// No more than this times the peer's.
    Ratio(f64),
    AtMost(f64),
    AtLeast(f64),
    /// Reported only.
    None,
}

/// One line of the table.
pub struct Row {
    pub id: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub ours: Sample,
    pub peer: Option<Sample>,
    /// Median of the ratios window by window.
    pub ratio: Option<f64>,
    pub bar: Bar,
}

impl Row {
    fn met(&self) -> Option<bool> {
        match self.bar {
            Bar::Ratio(most) => self.ratio.map(|ratio| ratio <= most),
            Bar::AtMost(most) => Some(self.ours.median <= most),
            Bar::AtLeast(least) => Some(self.ours.median >= least),
            Bar::None => None,
        }
    }

    /// Prints it and adds it to the file.
    pub fn tell(&self) {
        let peer = self.peer.map_or(String::new(), |peer| format!("  peer {peer}"));
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("  ratio {ratio:.2}"));
        let met = match self.met() {
            Some(true) => "  met",
            Some(false) => "  NOT MET",
            None => "",
        };
        println!("{:3} {:46} {} {}{peer}{ratio}{met}", self.id, self.what, self.ours, self.unit);
        self.append().unwrap();
    }

    fn append(&self) -> std::io::Result<()> {
        let (bar, of) = match self.bar {
            Bar::Ratio(bar) => (Some(bar), "ratio"),
            Bar::AtMost(bar) => (Some(bar), "at most"),
            Bar::AtLeast(bar) => (Some(bar), "at least"),
            Bar::None => (None, "none"),
        };
        let line = serde_json::json!({
            "id": self.id, "what": self.what, "unit": self.unit, "median": self.ours.median,
            "min": self.ours.min, "max": self.ours.max,
            "peer_median": self.peer.map(|peer| peer.median), "ratio": self.ratio,
            "bar": bar, "bar_is": of, "met": self.met(),
        });
        std::fs::create_dir_all("target/bench")?;
        let path = "target/bench/fib.json";
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{line}")
    }
}

/// Median of the ratios of values measured side by side.
pub fn ratio(ours: &[f64], peer: &[f64]) -> f64 {
    let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
    Sample::of(&ratios).median
}

/// Physical memory of this process, in MiB.
pub fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[cfg(target_arch = "x86_64")]
pub fn clocks() -> u64 {
    // SAFETY:
    // - reading the time stamp counter has no precondition on x86_64 Linux.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Nanoseconds, where there is no such counter.
#[cfg(not(target_arch = "x86_64"))]
pub fn clocks() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}
