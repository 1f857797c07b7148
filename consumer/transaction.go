package consumer

import "time"

// transactionWait is how long a transaction may hold records back before that is
// said. A broker ends those of producers that are gone after a minute by default,
// and after 15 minutes at most.
const transactionWait = time.Minute

// An openTransaction is the place where the records end that may be read, while
// records lie behind it.
type openTransaction struct {
	at    int64 // the last stable offset
	since time.Time
	said  bool
}

// watchTransaction notes whether an open transaction holds back what is the next
// to be read, and says so when it has lasted.
func (p *partition) watchTransaction(f fetched) {
	held := max(f.highWatermark-f.end, 0)
	p.g.c.metrics.unstableAt(p.topic, p.partition, held)
	if held == 0 || p.offset < f.end {
		if p.unstable.said {
			p.log.Info("the open transaction has ended; reading goes on")
		}
		p.unstable = openTransaction{}
		return
	}
	if p.unstable.since.IsZero() || p.unstable.at != f.end {
		p.unstable = openTransaction{at: f.end, since: time.Now()}
	}
	if lasted := time.Since(p.unstable.since); lasted >= transactionWait && !p.unstable.said {
		p.unstable.said = true
		p.log.Warn("an open transaction holds records back; if its producer is gone, abort it with `kafka-transactions.sh`",
			"last_stable_offset", f.end, "high_watermark", f.highWatermark, "since", p.unstable.since.UTC())
	}
}
