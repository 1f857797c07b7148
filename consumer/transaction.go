package consumer

import "time"

// transactionWait is how long a transaction may hold records back before that is
// lastLogged. A broker ends those of producers that are gone after a minute by default,
// and after 15 minutes at most.
const transactionWait = time.Minute

// An openTransaction is the place where the records end that may be read, while
// records lie behind it.
type openTransaction struct {
	offset int64 // the last stable offset
	since  time.Time
	logged bool
}

// watchTransaction notes whether an open transaction holds back what is the next
// to be read, and says so when it has lasted.
func (p *partition) watchTransaction(f fetchResult) {
	held := max(f.highWatermark-f.lastStable, 0)
	p.g.c.metrics.setUnstable(p.topic, p.partition, held)
	if held == 0 || p.offset < f.lastStable {
		if p.openTx.logged {
			p.log.Info("the open transaction has ended; reading goes on")
		}
		p.openTx = openTransaction{}
		return
	}
	if p.openTx.since.IsZero() || p.openTx.offset != f.lastStable {
		p.openTx = openTransaction{offset: f.lastStable, since: time.Now()}
	}
	if lasted := time.Since(p.openTx.since); lasted >= transactionWait && !p.openTx.logged {
		p.openTx.logged = true
		p.log.Warn("an open transaction holds records back; if its producer is gone, abort it with `kafka-transactions.sh`",
			"last_stable_offset", f.lastStable, "high_watermark", f.highWatermark, "since", p.openTx.since.UTC())
	}
}
